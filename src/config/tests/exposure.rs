//! Who may reach the service.

use super::*;

#[test]
fn without_callers_only_this_machine_is_served() {
    assert_eq!(
        refused(&[
            ("COUNTERSIGN_LISTEN", "0.0.0.0:50051"),
            ("COUNTERSIGN_INSECURE_OPEN", "true")
        ]),
        ["COUNTERSIGN_LISTEN"]
    );
    for (name, value) in [
        ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
        ("DOMAIN_SERVER", "https://chat.example"),
        ("DATABASE_URL", "postgres://db/c"),
    ] {
        let pairs = [(name, value), ("CREDS_KEY", &"0f1e".repeat(16))];
        assert_eq!(refused(&pairs), [name]);
        assert_eq!(
            good(&[pairs[0], pairs[1], ("COUNTERSIGN_INSECURE_OPEN", "true")])
                .warnings
                .len(),
            1
        );
    }
    for listen in ["127.0.0.2:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        assert!(good(&[("COUNTERSIGN_LISTEN", listen)]).server.reflection);
    }
}

#[test]
fn with_callers_other_addresses_need_a_mesh() {
    let file = callers_file();
    let callers = ("COUNTERSIGN_CALLERS", file.path().to_str().expect("a path"));
    let listen = ("COUNTERSIGN_LISTEN", "0.0.0.0:50051");
    assert_eq!(refused(&[callers, listen]), ["COUNTERSIGN_LISTEN"]);
    let config = good(&[
        callers,
        listen,
        ("COUNTERSIGN_PLAINTEXT", "mesh"),
        ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
    ]);
    assert!(!config.server.reflection);
    assert!(
        good(&[
            callers,
            listen,
            ("COUNTERSIGN_PLAINTEXT", "mesh"),
            ("COUNTERSIGN_REFLECTION", "on")
        ])
        .server
        .reflection
    );
}

#[test]
fn postgres_needs_a_key() {
    assert_eq!(
        refused(&[("DATABASE_URL", "postgres://localhost/c")]),
        ["COUNTERSIGN_ENCRYPTION_KEYS"]
    );
    assert!(
        good(&[
            ("DATABASE_URL", "postgres://localhost/c"),
            ("CREDS_KEY", &"0f1e".repeat(16))
        ])
        .keyring
        .is_some()
    );
}
