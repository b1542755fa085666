//! Files of TLS that keep the service from starting, each named by its setting.

use std::time::Duration;

use crate::support::authority::{Authority, DAY, Mounted, VERSION_1};
use crate::support::binary::Binary;

const LISTED: &str = "COUNTERSIGN_CALLERS";

/// What the check prints of these files, without the names of the files themselves.
fn refused(binary: &Binary, certificate: &str, key: &str, ca: &str) -> String {
    for (name, text) in [("cert", certificate), ("key", key), ("ca", ca)] {
        binary.write(name, text);
    }
    binary.refused(&[
        ("COUNTERSIGN_TLS_CERT", "cert"),
        ("COUNTERSIGN_TLS_KEY", "key"),
        ("COUNTERSIGN_TLS_CLIENT_CA", "ca"),
    ])
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of faults")]
fn every_wrong_file_is_told_by_its_setting_and_nothing_of_what_it_holds() {
    let (binary, authority) = (Binary::new(), Authority::new());
    let now = countersign::clock::Clock::system().now();
    let (good, other) = (authority.server(), authority.server());
    let hour = Duration::from_hours(1);
    let expired = authority.issue(&["localhost"], now.minus(DAY), now.minus(hour));
    let early = authority.issue(&["localhost"], now.plus(hour), now.plus(DAY));
    let past = Authority::until(now.minus(hour)).pem();
    let (cert, key, ca) = (good.certificate(), good.key(), authority.pem());
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let foreign = key.replace("PRIVATE KEY", "DSA PRIVATE KEY");
    let malformed = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (certificate, key, ca, expected) in [
        (
            &*expired.certificate(),
            &*expired.key(),
            &*ca,
            "CERT holds a certificate that has expired",
        ),
        (
            &early.certificate(),
            &early.key(),
            &ca,
            "CERT holds a certificate that is not valid yet",
        ),
        (
            &cert,
            &other.key(),
            &ca,
            "KEY does not match the first certificate",
        ),
        ("canary", &key, &ca, "CERT holds no certificate in PEM"),
        (&key, &key, &ca, "CERT holds no certificate in PEM"),
        (&cert[..200], &key, &ca, "CERT holds damaged PEM"),
        (malformed, &key, &ca, "CERT holds a malformed certificate"),
        (
            VERSION_1,
            &key,
            &ca,
            "CERT holds a certificate of an older X.509 version than 3, which TLS cannot use",
        ),
        (
            &cert,
            "canary",
            &ca,
            "KEY holds no private key in PEM, or damaged PEM",
        ),
        (
            &cert,
            &cert,
            &ca,
            "KEY holds no private key in PEM, or damaged PEM",
        ),
        (
            &cert,
            &foreign,
            &ca,
            "KEY holds no private key in PEM, or damaged PEM",
        ),
        (
            &cert,
            &key[..100],
            &ca,
            "KEY holds no private key in PEM, or damaged PEM",
        ),
        (
            &cert,
            &encrypted,
            &ca,
            "KEY holds an encrypted private key; it must not need a password",
        ),
        (&cert, &key, "", "CLIENT_CA holds no certificate in PEM"),
        (
            &cert,
            &key,
            malformed,
            "CLIENT_CA holds a malformed certificate",
        ),
        (
            &cert,
            &key,
            &past,
            "CLIENT_CA holds only certificates that have expired or are not valid yet",
        ),
    ] {
        let shown = refused(&binary, certificate, key, ca);
        assert_eq!(shown, format!("COUNTERSIGN_TLS_{expected}\n"));
    }
}

#[test]
fn half_a_configuration_is_refused() {
    let (binary, authority) = (Binary::new(), Authority::new());
    let files = Mounted::new(&authority.server(), &authority);
    let ([cert, key], ca) = (files.settings(), files.client_ca());
    for (given, expected) in [
        (
            vec![&cert],
            "COUNTERSIGN_TLS_KEY is not set, but COUNTERSIGN_TLS_CERT is: set both",
        ),
        (
            vec![&key],
            "COUNTERSIGN_TLS_CERT is not set, but COUNTERSIGN_TLS_KEY is: set both",
        ),
        (
            vec![&ca],
            "COUNTERSIGN_TLS_CLIENT_CA needs COUNTERSIGN_TLS_CERT and COUNTERSIGN_TLS_KEY",
        ),
    ] {
        let given: Vec<_> = given
            .into_iter()
            .map(|(name, path)| (*name, &**path))
            .collect();
        assert_eq!(binary.refused(&given), format!("{expected}\n"));
    }
    binary.write("pipe", "");
    let missing = binary.refused(&[
        ("COUNTERSIGN_TLS_CERT", "none"),
        ("COUNTERSIGN_TLS_KEY", &key.1),
    ]);
    assert!(missing.starts_with("COUNTERSIGN_TLS_CERT names a file that cannot be read"));
}

#[test]
fn callers_known_by_certificates_need_an_authority() {
    let (binary, authority) = (Binary::new(), Authority::new());
    let files = Mounted::new(&authority.server(), &authority);
    binary.write(
        "callers.yaml",
        "callers: [{ name: chat, spiffe_id: spiffe://a/chat, permissions: [token.verify] }]\n",
    );
    let ([cert, key], ca) = (files.settings(), files.client_ca());
    let mut given = vec![
        (LISTED, "callers.yaml"),
        ("COUNTERSIGN_LISTEN", "0.0.0.0:50051"),
        (cert.0, &*cert.1),
        (key.0, &*key.1),
    ];
    let expected = "COUNTERSIGN_CALLERS caller chat has a spiffe_id or dns_san, but COUNTERSIGN_TLS_CLIENT_CA is not set\n";
    assert_eq!(binary.refused(&given), expected);
    given.push((ca.0, &*ca.1));
    let shown = binary.checked(&given);
    assert!(
        shown.contains("  listen     0.0.0.0:50051, TLS, certificates of callers taken\n"),
        "{shown}"
    );
}
