//! The address to serve on, and checks of who can reach it.

use std::net::SocketAddr;

use url::Url;

use super::reader::Reader;
use super::tls;
use super::urls;

const LISTEN: &str = "COUNTERSIGN_LISTEN";
const OPS_LISTEN: &str = "COUNTERSIGN_OPS_LISTEN";
const OPS_URL: &str = "COUNTERSIGN_OPS_URL";
const HEALTH_LISTEN: &str = "COUNTERSIGN_HEALTH_LISTEN";

/// Where and how to serve.
#[derive(Debug)]
pub struct Server {
    /// COUNTERSIGN_LISTEN, default `127.0.0.1:50051`.
    pub listen: SocketAddr,
    /// COUNTERSIGN_OPS_LISTEN, default `127.0.0.1:9464`; `None` if it is `off`.
    pub ops_listen: Option<SocketAddr>,
    /// COUNTERSIGN_OPS_URL: where others reach that listener, without a trailing slash.
    pub ops_url: Option<String>,
    /// COUNTERSIGN_HEALTH_LISTEN; by default there is no such listener.
    pub health_listen: Option<SocketAddr>,
    /// COUNTERSIGN_REFLECTION, by default on only if the service listens on loopback.
    pub reflection: bool,
}

/// Reads where to listen, and COUNTERSIGN_REFLECTION.
pub(super) fn read(r: &mut Reader<'_>) -> Server {
    let parse = |text: &str| {
        text.parse::<SocketAddr>()
            .map_err(|_| "must be an address and a port, such as 127.0.0.1:50051")
    };
    let listen = r
        .parse(LISTEN, parse)
        .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 50051)));
    let ops_listen = r.parse(OPS_LISTEN, |text| match text {
        "off" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_| "must be off, or an address and a port, such as 127.0.0.1:9464"),
    });
    let reflection = r.parse("COUNTERSIGN_REFLECTION", |text| match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("must be on or off"),
    });
    let ops_listen = ops_listen.unwrap_or_else(|| Some(SocketAddr::from(([127, 0, 0, 1], 9464))));
    let ops_url = r.parse(OPS_URL, urls::base_url);
    let ops_url = ops_url.map(|url| urls::without_slash(url.as_str()).to_owned());
    if ops_url.is_some() && ops_listen.is_none() {
        r.warn(format!(
            "{OPS_URL} has no effect, because {OPS_LISTEN} is off"
        ));
    }
    Server {
        listen,
        ops_listen,
        ops_url,
        health_listen: r.parse(HEALTH_LISTEN, parse),
        reflection: reflection.unwrap_or_else(|| is_loopback(listen)),
    }
}

/// LibreChat's public addresses, without a trailing slash.
pub(super) struct Domains {
    /// DOMAIN_CLIENT, if it is set.
    pub client: Option<String>,
    /// DOMAIN_SERVER.
    pub server: String,
    /// Whether DOMAIN_SERVER is unset or names this machine.
    pub local: bool,
}

impl Domains {
    pub fn read(r: &mut Reader<'_>) -> Self {
        let text = |url: Url| urls::without_slash(url.as_str()).to_owned();
        let client = domain(r, "DOMAIN_CLIENT").map(text);
        let server = domain(r, "DOMAIN_SERVER");
        let local = server.as_ref().is_none_or(urls::is_loopback);
        let server = server.map_or_else(|| "http://localhost:3080".to_owned(), text);
        Self {
            client,
            server,
            local,
        }
    }
}

fn domain(r: &mut Reader<'_>, name: &str) -> Option<Url> {
    let url = r.parse(name, urls::base_url)?;
    if url.scheme() == "http" && !urls::is_loopback(&url) {
        // The browser would send codes and tokens in plain text. LibreChat marks production by
        // NODE_ENV.
        if r.text("NODE_ENV")
            .is_some_and(|environment| environment == "production")
        {
            r.mistake(name, "must be https in production");
        } else {
            r.warn(format!(
                "{name} is plain http: codes and tokens can be read in transit"
            ));
        }
    }
    Some(url)
}

/// What shows whether the service serves more than this machine.
pub(super) struct Exposure<'a> {
    pub listen: SocketAddr,
    pub tls: Option<&'a tls::Tls>,
    pub has_callers: bool,
    pub domain_is_local: bool,
    pub database_is_local: bool,
}

impl Exposure<'_> {
    /// Without COUNTERSIGN_CALLERS the service may serve only this machine. With callers but without
    /// TLS it may listen only on loopback or inside a service mesh that encrypts.
    pub fn check(&self, r: &mut Reader<'_>) {
        let insecure = r.flag("COUNTERSIGN_INSECURE_OPEN", false);
        let in_kubernetes = r.text("KUBERNETES_SERVICE_HOST").is_some();
        let mesh = r.parse("COUNTERSIGN_PLAINTEXT", |text| match text {
            "mesh" => Ok(()),
            _ => Err("must be mesh"),
        });
        if self.tls.is_some() && mesh.is_some() {
            r.warn(format!("COUNTERSIGN_PLAINTEXT has no effect, because {} is set: the service speaks TLS only", tls::CERT));
        }
        if !self.has_callers {
            self.check_open(r, insecure, in_kubernetes);
        } else if !is_loopback(self.listen) && self.tls.is_none() && mesh.is_none() {
            r.mistake(LISTEN, format!("is not loopback, and the service has no TLS: set {} and {}, or COUNTERSIGN_PLAINTEXT=mesh if a service mesh encrypts", tls::CERT, tls::KEY));
        }
    }

    fn check_open(&self, r: &mut Reader<'_>, insecure: bool, in_kubernetes: bool) {
        if !is_loopback(self.listen) {
            r.mistake(
                LISTEN,
                "is not loopback: set COUNTERSIGN_CALLERS, which says who may call",
            );
        }
        let exposed = [
            ("KUBERNETES_SERVICE_HOST", in_kubernetes),
            ("DOMAIN_SERVER", !self.domain_is_local),
            ("DATABASE_URL", !self.database_is_local),
        ];
        for (name, _) in exposed
            .into_iter()
            .filter(|(_, is_exposed)| *is_exposed && !insecure)
        {
            r.mistake(
                name,
                "shows that this is not a test on one machine: set COUNTERSIGN_CALLERS, or COUNTERSIGN_INSECURE_OPEN=true to run without callers",
            );
        }
        r.warn("COUNTERSIGN_CALLERS is not set: whoever reaches this machine's loopback may call with every permission");
    }
}

fn is_loopback(listen: SocketAddr) -> bool {
    listen.ip().to_canonical().is_loopback()
}
