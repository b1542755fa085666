//! Settings from the environment and from files, as the binary reads them.

use tonic::Code;

use crate::support::binary::Binary;
use crate::support::calls::register_request;
use crate::support::{Engine, World, reason};

#[test]
fn the_check_tells_which_setting_was_found_where() {
    let binary = Binary::new();
    binary.write(
        ".env",
        "ALLOW_REGISTRATION=\nDOMAIN_CLIENT=http://localhost:3080\nLOGIN_MAX=9\nMONGO_URI=mongodb://canary\nCREDS_KEY_FILE=key\n",
    );
    binary.write(".env.development", "DOMAIN_CLIENT=http://localhost:3090\n");
    binary.write("key", &"0f1e".repeat(16));
    let listen = [("COUNTERSIGN_LISTEN", "127.0.0.1:0"), ("LOGIN_MAX", "8")];
    let shown = binary.checked(&listen);
    for line in [
        "  set in     environment: COUNTERSIGN_LISTEN, LOGIN_MAX\n",
        "  set in     .env.development: DOMAIN_CLIENT\n",
        "  set in     .env: ALLOW_REGISTRATION (blank), CREDS_KEY_FILE\n",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    assert!(
        !shown.contains("canary") && !shown.contains("0f1e"),
        "{shown}"
    );

    let production = binary.checked(&[listen[0], listen[1], ("NODE_ENV", "production")]);
    assert!(!production.contains(".env.development"), "{production}");
    assert!(
        production.contains(".env: ALLOW_REGISTRATION (blank), CREDS_KEY_FILE, DOMAIN_CLIENT\n"),
        "{production}"
    );
}

#[test]
fn a_mistake_names_the_file_that_it_stands_in() {
    let binary = Binary::new();
    binary.write(".env", "SESSION_EXPIRY=canary\n");
    assert_eq!(
        binary.refused(&[("LOGIN_MAX", "canary")]),
        "SESSION_EXPIRY (in .env) must be a number or arithmetic such as 1000 * 60 * 15, in milliseconds\nLOGIN_MAX must be a whole number from 1 to 4294967295\n"
    );
}

#[test]
fn a_setting_that_names_a_pipe_is_refused_at_once() {
    let binary = Binary::new();
    let made = std::process::Command::new("mkfifo")
        .arg(binary.directory().join("pipe"))
        .status();
    assert!(made.expect("mkfifo runs").success());
    for name in ["CREDS_KEY_FILE", "DATABASE_URL_FILE", "COUNTERSIGN_CALLERS"] {
        assert_eq!(
            binary.refused(&[(name, "pipe")]),
            format!("{name} names a file that cannot be read: it is not a regular file\n")
        );
    }
}

#[tokio::test]
async fn registration_that_is_blank_or_anything_but_true_is_closed() {
    for off in ["", " ", "false", "0"] {
        let engine = Engine::sqlite();
        let world = World::start(&engine, &[("ALLOW_REGISTRATION", off)]).await;
        let refusal = world
            .auth()
            .register(register_request("ann@example.com"))
            .await
            .expect_err(off);
        assert_eq!(
            reason(&refusal),
            (Code::PermissionDenied, "REGISTRATION_CLOSED".to_owned())
        );
        world.end().await;
    }
}

#[test]
fn a_file_of_librechat_that_restricts_more_than_the_service_can_is_refused() {
    let binary = Binary::new();
    binary.write(
        ".env",
        "ALLOW_SOCIAL_LOGIN=true\nOPENID_ISSUER=https://id.example.com\nOPENID_CLIENT_ID=chat\n\
         OPENID_CLIENT_SECRET=a secret of the chat\nOPENID_REQUIRED_ROLE=canary\n\
         OPENID_REQUIRED_ROLE_PARAMETER_PATH=realm_access.canary\n\
         OPENID_REQUIRED_ROLE_TOKEN_KIND=canary\nOPENID_ADMIN_ROLE=canary\n\
         ALLOW_UNVERIFIED_EMAIL_LOGIN=false\n",
    );
    let refused = binary.refused(&[]);
    let mut names: Vec<_> = refused
        .lines()
        .map(|line| line.split(' ').next().unwrap_or_default())
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "ALLOW_UNVERIFIED_EMAIL_LOGIN",
            "OPENID_ADMIN_ROLE",
            "OPENID_REQUIRED_ROLE",
            "OPENID_REQUIRED_ROLE_PARAMETER_PATH",
            "OPENID_REQUIRED_ROLE_TOKEN_KIND",
        ]
    );
    assert!(!refused.contains("canary"), "{refused}");
    let served = binary.run(&["serve"], &[]);
    assert!(!served.succeeded);
    let told = format!("countersign cannot start:\n{refused}");
    assert!(served.error.starts_with(&told), "{}", served.error);
}

#[test]
fn settings_of_librechat_without_effect_get_one_line_each() {
    let binary = Binary::new();
    binary.write(
        ".env",
        "PROXY=http://canary\nEMAIL_SERVICE=canary\nOPENID_REUSE_TOKENS=true\n\
         GOOGLE_CLIENT_ID=canary\nLIMIT_MESSAGE_IP=true\nMEILI_HOST=canary\nSAML_CERT=\n",
    );
    let shown = binary.checked(&[]);
    let warned = shown
        .lines()
        .filter_map(|line| line.trim().strip_prefix("warning    "))
        .filter(|warning| warning.contains(" has no effect: "))
        .map(|warning| warning.split(' ').next().unwrap_or_default());
    assert_eq!(
        warned.collect::<Vec<_>>(),
        [
            "EMAIL_SERVICE",
            "GOOGLE_CLIENT_ID",
            "LIMIT_MESSAGE_IP",
            "OPENID_REUSE_TOKENS",
            "PROXY",
        ]
    );
    assert!(!shown.contains("canary"), "{shown}");
}

#[test]
fn a_list_of_domains_in_librechats_other_file_is_refused() {
    let binary = Binary::new();
    let yaml = "registration:\n  allowedDomains: ['canary.example']\n";
    let refused = "librechat.yaml has registration.allowedDomains, which lets in only addresses of some domains, and this version cannot check that. Remove it if users of all domains may sign in; otherwise restrict the provider, and close registration\n";
    binary.write("librechat.yaml", yaml);
    assert_eq!(binary.refused(&[]), refused);
    binary.write("librechat.yaml", "version: 1.2.1\n");
    binary.checked(&[]);
    binary.write("chat.yaml", yaml);
    binary.write(".env", "CONFIG_PATH=chat.yaml\n");
    assert_eq!(binary.refused(&[]), refused);
    binary.checked(&[("CONFIG_PATH", "https://canary.example/librechat.yaml")]);
}
