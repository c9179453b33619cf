use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response};
use portcullis::admin::Admin;
use portcullis::config::{Config, ConfigError, Requirement};
use portcullis::guard::{Report, SecurityWarning};
use portcullis::serve::{Incoming, Server, Unfinished};
use portcullis::{Body, Guard};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use crate::dialled::Dialled;
use crate::proxy::{Egress, ProxyBody, Routes};
use crate::section::{EgressSection, ListenerSection};

/// The bodies of clients' requests.
pub(crate) type Requests = Body<Incoming>;

/// A port of the gate.
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    serves: Serves,
}

enum Serves {
    /// The registry, behind a guard.
    Registry {
        guard: Box<Guard>,
        tls: bool,
        /// What callers must show here, if it is another thing than elsewhere.
        require: Option<Requirement>,
    },
    /// Probes, the registry's own at these paths.
    Probes(Arc<[Box<str>]>),
    /// This node's own requests to other gates.
    Egress(Egress<Requests>),
}

/// What all ports have in common.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) routes: Routes<Requests>,
    /// Answers `/livez` and `/readyz`.
    pub(crate) admin: Admin,
    pub(crate) stop: CancellationToken,
    pub(crate) drain: Duration,
    /// Descriptors that connections to registries and other gates may take.
    pub(crate) descriptors: usize,
}

impl Port {
    /// The port of `--listen`, which may be in the clear on any address if `clear` says so.
    ///
    /// # Errors
    /// It would be in the clear for others, and nothing says that this is meant.
    pub(crate) fn front(address: SocketAddr, clear: bool, guard: &Guard) -> Result<Self, String> {
        let tls = guard.acceptor().is_some();
        if !tls && !clear && is_reached_by_others(address) {
            return Err(format!(
                "{address} would be served in the clear, for the configuration has no [tls]; say --clear if that \
                 is meant"
            ));
        }
        let guard = Box::new(guard.clone());
        let serves = Serves::Registry {
            guard,
            tls,
            require: None,
        };
        Ok(Self { address, serves })
    }

    /// A port of the configuration.
    ///
    /// # Errors
    /// It would be in the clear for others, and nothing says that this is meant; or a probe is no path.
    pub(crate) fn of(
        section: &ListenerSection,
        index: usize,
        config: &Config,
        guard: &Guard,
    ) -> Result<Self, ConfigError> {
        let unusable = |key: &str, error: String| {
            config.unusable(&format!("program.listener[{index}].{key}"), error)
        };
        let address = section.address;
        let tls = guard.acceptor().is_some() && !section.clear && section.probes.is_none();
        if !tls && !section.clear && is_reached_by_others(address) {
            let problem = format!(
                "{address} would be in the clear for others; write `clear = true` beside it if that is meant"
            );
            return Err(unusable("address", problem));
        }
        let serves = match (&section.probes, section.require) {
            (Some(_), Some(_)) => {
                let problem = "a listener with `probes` requires nothing: take out `require`";
                return Err(unusable("require", problem.to_owned()));
            }
            (Some(paths), None) => {
                if let Some(wrong) = paths.iter().position(|path| !is_probe(path)) {
                    let problem = format!(
                        "{:?} is no path of a probe, as \"/healthz\" is; nothing beneath /v2 can be one",
                        paths[wrong]
                    );
                    return Err(unusable(&format!("probes[{wrong}]"), problem));
                }
                Serves::Probes(paths.clone().into())
            }
            (None, require) => {
                let guard = guard.clone();
                let guard = match require {
                    Some(requirement) => guard.with_requirement(requirement),
                    None => guard,
                };
                let guard = Box::new(guard);
                Serves::Registry {
                    guard,
                    tls,
                    require,
                }
            }
        };
        Ok(Self { address, serves })
    }

    /// The port for this node's own requests.
    ///
    /// # Errors
    /// Others would reach it, whose requests would then be this node's.
    pub(crate) fn egress(address: SocketAddr, egress: Egress<Requests>) -> Result<Self, String> {
        if is_reached_by_others(address) {
            return Err(format!(
                "--egress {address} would be reached by others, whose requests would go out with this node's \
                 certificate: take a loopback address"
            ));
        }
        let serves = Serves::Egress(egress);
        Ok(Self { address, serves })
    }

    /// Adds what is true of this port, besides what is true of the guard in front.
    pub(crate) fn describe(&self, config: &Config, report: &mut Report) {
        let address = self.address;
        match &self.serves {
            Serves::Registry {
                guard,
                tls,
                require,
            } => {
                let own = guard.report_on(address);
                let other = |line: &&String, known: &[String]| !known.contains(line);
                let on = |line: &String| format!("on {address} {line}");
                let enforced = own.enforced.iter();
                let enforced = enforced.filter(|line| other(line, &report.enforced));
                let enforced: Vec<String> = enforced.map(on).collect();
                let open = own.open.iter().filter(|line| other(line, &report.open));
                let open: Vec<String> = open.map(on).collect();
                report.enforced.extend(enforced);
                report.open.extend(open);
                for warning in own.warnings {
                    warn(report, warning);
                }
                if !tls && guard.acceptor().is_some() {
                    report.open.push(format!("{address} is in the clear"));
                    let required = require.or(config.requirement());
                    let certificate = [Requirement::Certificate, Requirement::TokenAndCertificate];
                    let needed = required.is_some_and(|it| certificate.contains(&it));
                    // A proxy may vouch for one.
                    if needed && config.proxies().next().is_none() {
                        warn(report, SecurityWarning::CertificateInTheClear(address));
                    }
                    if is_reached_by_others(address) && required != Some(Requirement::Certificate) {
                        warn(report, SecurityWarning::TokensInTheClear(address));
                    }
                }
            }
            Serves::Probes(paths) => {
                let mut all = vec!["/livez", "/readyz"];
                all.extend(paths.iter().map(AsRef::as_ref));
                report.open.push(format!(
                    "{address} answers {} in the clear and without credentials",
                    all.join(", ")
                ));
            }
            Serves::Egress(_) => {}
        }
    }

    /// How a client reaches it, once it is bound.
    pub(crate) fn url(&self, bound: SocketAddr) -> String {
        match &self.serves {
            Serves::Registry { tls: true, .. } => format!("https://{bound}"),
            _ => format!("http://{bound}"),
        }
    }

    /// Answers until the process stops.
    ///
    /// # Errors
    /// Requests were in flight still at the end.
    pub(crate) async fn serve(
        self,
        listener: TcpListener,
        common: Common,
    ) -> Result<(), Unfinished> {
        let Common {
            routes,
            admin,
            stop,
            drain,
            descriptors,
        } = common;
        let server = |guard: Option<Guard>| {
            let server = guard.map_or_else(Server::unguarded, Server::new);
            let stop = stop.cancelled_owned();
            server
                .with_graceful_shutdown(stop)
                .with_drain_deadline(drain)
                .with_descriptors_left(descriptors)
        };
        match self.serves {
            Serves::Registry { guard, tls, .. } => {
                let server = server(Some(*guard));
                let server = if tls { server } else { server.plain() };
                let service = tower::service_fn(move |request: Request<Requests>| {
                    let routes = routes.clone();
                    async move { Ok::<_, Infallible>(routes.call(request).await) }
                });
                server.serve(listener, service).await
            }
            Serves::Probes(paths) => {
                let service = tower::service_fn(move |request: Request<Requests>| {
                    probe(Arc::clone(&paths), admin.clone(), routes.clone(), request)
                });
                // Few clients ask, and they ask often.
                let server = server(None).with_max_connections(256);
                server.serve(listener, service).await
            }
            Serves::Egress(egress) => {
                let service = tower::service_fn(move |request: Request<Requests>| {
                    let egress = egress.clone();
                    async move { Ok::<_, Infallible>(egress.call(request).await) }
                });
                let server = server(None).with_connection_state(Dialled::of);
                server.serve(listener, service).await
            }
        }
    }
}

/// Adds what is true of the egress at these addresses.
pub(crate) fn describe_egress(
    addresses: &[SocketAddr],
    section: &EgressSection,
    report: &mut Report,
) {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let count = |count: usize, noun: &str| match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    };
    report.enforced.push(format!(
        "requests to {} go out over TLS to {} and {} of {} only",
        addresses.join(" and "),
        count(section.networks.len(), "network"),
        count(section.hosts.len(), "name"),
        count(section.ports.len(), "port"),
    ));
    if !section.checks_revocation() {
        report
            .open
            .push("certificates of other gates are not checked for revocation".to_owned());
    }
}

async fn probe(
    paths: Arc<[Box<str>]>,
    mut admin: Admin,
    routes: Routes<Requests>,
    request: Request<Requests>,
) -> Result<Response<ProxyBody>, Infallible> {
    let path = request.uri().path();
    let own = ["/livez", "/readyz"].contains(&path);
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    if !own && reads && paths.iter().any(|listed| **listed == *path) {
        // Nothing of the request but its path: a probe says nothing.
        return Ok(routes.rest().ask_openly(request.method(), path).await);
    }
    let answer = admin.call(request).await?;
    Ok(answer.map(|body| ProxyBody::Problem { body }))
}

/// Whether a path can be a probe of the registry: one that stands outside of what the guard protects.
fn is_probe(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    let api = path == "/v2" || path.starts_with("/v2/");
    path.starts_with('/') && path.bytes().all(plain) && !path.contains("..") && !api
}

fn is_reached_by_others(address: SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

fn warn(report: &mut Report, warning: SecurityWarning) {
    if !report.warnings.contains(&warning) {
        report.warnings.push(warning);
    }
}
