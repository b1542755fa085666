//! Where to serve, and who may reach it.

use std::net::SocketAddr;

use url::Url;

use super::callers::Callers;
use super::reader::Reader;
use super::{Server, urls};

const LISTEN: &str = "COUNTERSIGN_LISTEN";

/// COUNTERSIGN_LISTEN and COUNTERSIGN_REFLECTION.
pub(super) fn read(r: &mut Reader<'_>) -> Server {
    let parse = |text: &str| {
        text.parse::<SocketAddr>()
            .map_err(|_| "must be an address and a port, such as 127.0.0.1:50051")
    };
    let listen = r
        .parse(LISTEN, parse)
        .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 50051)));
    let reflection = r.parse("COUNTERSIGN_REFLECTION", |text| match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("must be on or off"),
    });
    Server {
        listen,
        reflection: reflection.unwrap_or_else(|| is_loopback(listen)),
    }
}

/// LibreChat's public addresses, without a trailing slash.
pub(super) struct Domains {
    /// DOMAIN_SERVER.
    pub server: String,
    /// Whether it is this machine.
    pub local: bool,
}

impl Domains {
    pub fn read(r: &mut Reader<'_>) -> Self {
        domain(r, "DOMAIN_CLIENT");
        let server = domain(r, "DOMAIN_SERVER");
        let local = server.as_ref().is_none_or(urls::is_loopback);
        let server = server.map_or_else(
            || "http://localhost:3080".to_owned(),
            |url| urls::without_slash(url.as_str()).to_owned(),
        );
        Self { server, local }
    }
}

fn domain(r: &mut Reader<'_>, name: &str) -> Option<Url> {
    let url = r.parse(name, urls::place)?;
    if url.scheme() == "http" && !urls::is_loopback(&url) {
        // LibreChat's own name for it; a browser would carry codes and tokens in plain text.
        if r.text("NODE_ENV")
            .is_some_and(|environment| environment == "production")
        {
            r.mistake(name, "must be https in production");
        } else {
            r.warn(format!(
                "{name} is plain http: codes and tokens can be read on the way"
            ));
        }
    }
    Some(url)
}

/// What must hold before anybody may reach the service: without callers nothing but this machine, without TLS a mesh.
pub(super) fn check_exposure(
    r: &mut Reader<'_>,
    listen: SocketAddr,
    callers: &Callers,
    domain_is_local: bool,
    database_is_local: bool,
) {
    let insecure = r.flag("COUNTERSIGN_INSECURE_OPEN", false);
    let in_kubernetes = r.text("KUBERNETES_SERVICE_HOST").is_some();
    let mesh = r
        .parse("COUNTERSIGN_PLAINTEXT", |text| {
            if text == "mesh" {
                Ok(())
            } else {
                Err("can only be mesh")
            }
        })
        .is_some();
    if let Callers::Listed(_) = callers {
        if !is_loopback(listen) && !mesh {
            r.mistake(LISTEN, "is not loopback and there is no TLS: set COUNTERSIGN_PLAINTEXT=mesh where a service mesh encrypts");
        }
        return;
    }
    if !is_loopback(listen) {
        r.mistake(
            LISTEN,
            "is not loopback, and COUNTERSIGN_CALLERS does not say who may call",
        );
    }
    let exposed = [
        ("KUBERNETES_SERVICE_HOST", in_kubernetes),
        ("DOMAIN_SERVER", !domain_is_local),
        ("DATABASE_URL", !database_is_local),
    ];
    for (name, _) in exposed.into_iter().filter(|(_, holds)| *holds && !insecure) {
        r.mistake(
            name,
            "shows that this is no test on one machine: set COUNTERSIGN_CALLERS, or COUNTERSIGN_INSECURE_OPEN=true to go without",
        );
    }
    r.warn("COUNTERSIGN_CALLERS is not set: whoever reaches this machine's loopback may call with every permission");
}

fn is_loopback(listen: SocketAddr) -> bool {
    listen.ip().to_canonical().is_loopback()
}
