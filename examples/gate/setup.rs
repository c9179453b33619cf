use std::collections::HashSet;
use std::error::Error;
use std::time::Duration;

use portcullis::Guard;
use portcullis::admin::Admin;
use portcullis::config::Config;
use portcullis::guard::{Builder, Report};
use portcullis::serve::{Unfinished, bind};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::authorization::AuthorizationFile;
use crate::cli::Arguments;
use crate::ports::{Common, Port, Requests, describe_egress};
use crate::process::operator::draining;
use crate::proxy::{Health, InFlight, Proxy, Routes, Served, Upstream};
use crate::section::Program;

/// What the flags and the configuration make, before any port is bound.
pub(crate) struct Setup {
    pub(crate) guard: Guard,
    pub(crate) routes: Routes<Requests>,
    /// What is enforced and what is left open, on all ports.
    pub(crate) report: Report,
    ports: Vec<Port>,
    /// What connections to registries and other gates may take of them.
    descriptors: usize,
}

/// The ports while they answer.
pub(crate) struct Running {
    /// One a port, that of `--listen` first.
    pub(crate) urls: Vec<String>,
    serving: JoinSet<Result<(), Unfinished>>,
}

impl Setup {
    /// Reads the configuration and all that it and the flags name.
    ///
    /// # Errors
    /// Something cannot be used, or cannot be meant.
    pub(crate) fn read(arguments: &Arguments) -> Result<Self, Box<dyn Error>> {
        let config = Config::load(&arguments.config)?;
        let program: Program = config.program()?.unwrap_or_default();
        arguments.to.check()?;
        let builder = Guard::builder().configure(&config)?;
        let peers = arguments.to.peers_in_vain(&builder);
        let guard = guard(arguments, &config, builder)?;
        let in_flight = arguments.to.in_flight();
        let ports = ports(arguments, &config, &program, &guard, &in_flight)?;
        let mut report = guard.report_on(arguments.listen);
        report.warnings.extend(peers);
        for port in &ports {
            port.describe(&config, &mut report);
        }
        if let Some(section) = &program.egress {
            describe_egress(&arguments.egress, section, &mut report);
        }
        let (all, of_one) = in_flight.counts();
        let registries = program.upstreams.len() + arguments.upstream.iter().count();
        let descriptors = in_flight.descriptors(registries, !arguments.egress.is_empty());
        report.enforced.push(format!(
            "at most {all} requests are in flight to registries and other gates, {of_one} of one source, by at most \
             {descriptors} connections with those that are idle"
        ));
        Ok(Self {
            routes: routes(arguments, &config, &program, &in_flight)?,
            guard,
            report,
            ports,
            descriptors,
        })
    }

    /// What `/livez` and `/readyz` answer by.
    pub(crate) fn admin(&self) -> Admin {
        let routes = self.routes.clone();
        Admin::new()
            .with_checks(self.guard.checks())
            .with_check("upstream", move || routes.readiness())
    }

    /// Binds the ports, all of them before the first one answers, and answers until `stop`.
    ///
    /// # Errors
    /// A port cannot be bound.
    pub(crate) async fn start(
        self,
        stop: CancellationToken,
        drain: Duration,
    ) -> Result<Running, Box<dyn Error>> {
        let common = Common {
            admin: draining(self.admin(), stop.clone()),
            routes: self.routes.clone(),
            stop,
            drain,
            descriptors: self.descriptors,
        };
        let (mut urls, mut bound) = (Vec::new(), Vec::new());
        for port in self.ports {
            let listener = bind(port.address).await?;
            urls.push(port.url(listener.local_addr()?));
            bound.push((port, listener));
        }
        let mut serving = JoinSet::new();
        let (routes, stopped) = (self.routes, common.stop.clone());
        serving.spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = routes.probe() => {}
            }
            Ok(())
        });
        for (port, listener) in bound {
            serving.spawn(port.serve(listener, common.clone()));
        }
        Ok(Running { urls, serving })
    }
}

impl Running {
    /// Waits until every port has stopped.
    ///
    /// # Errors
    /// A task panicked.
    pub(crate) async fn ended(mut self) -> Result<Result<(), Unfinished>, Box<dyn Error>> {
        let mut served = Ok(());
        while let Some(ended) = self.serving.join_next().await {
            served = served.and(ended?);
        }
        Ok(served)
    }
}

fn guard(
    arguments: &Arguments,
    config: &Config,
    builder: Builder,
) -> Result<Guard, Box<dyn Error>> {
    #[cfg(feature = "json-log")]
    if let Some(file) = &arguments.access_log {
        let sink = portcullis::access_log::JsonLines::open(file);
        let sink = sink.map_err(|error| format!("{}: {error}", file.display()))?;
        let log = config.access_log().with_sink(sink);
        return Ok(builder.access_log(log).build());
    }
    let _ = (arguments, config);
    Ok(builder.build())
}

/// The registries by their requests: those of the configuration, and that of the flags for the rest.
fn routes(
    arguments: &Arguments,
    config: &Config,
    program: &Program,
    in_flight: &InFlight,
) -> Result<Routes<Requests>, Box<dyn Error>> {
    let to = &arguments.to;
    let mut served = Vec::new();
    for (index, section) in program.upstreams.iter().enumerate() {
        served.push(section.served(index, config, to.options(in_flight))?);
    }
    if let Some(url) = &arguments.upstream {
        let upstream = Upstream::parse(url, || to.tls().watch())?;
        let file = to.authorization_file.clone().map(AuthorizationFile);
        let mut options = to.options(in_flight);
        options.authorization = file.map(AuthorizationFile::watch).transpose()?;
        served.push(Served {
            repositories: Vec::new(),
            registries: Vec::new(),
            proxy: Proxy::new(upstream, options),
            health: Health::new(),
        });
    }
    let configured = !program.upstreams.is_empty();
    Routes::new(served).map_err(|error| {
        if configured {
            config.unusable("program.upstream", error).into()
        } else {
            error.into()
        }
    })
}

/// The port of `--listen` first, then those of the configuration and that of `--egress`.
fn ports(
    arguments: &Arguments,
    config: &Config,
    program: &Program,
    guard: &Guard,
    in_flight: &InFlight,
) -> Result<Vec<Port>, Box<dyn Error>> {
    let mut ports = vec![Port::front(arguments.listen, arguments.clear, guard)?];
    for (index, section) in program.listeners.iter().enumerate() {
        ports.push(Port::of(section, index, config, guard)?);
    }
    match (&*arguments.egress, &program.egress) {
        ([], None) => {}
        ([], Some(_)) => {
            let problem = "it needs --egress, its address";
            return Err(config.unusable("program.egress", problem).into());
        }
        (_, None) => return Err("--egress needs [program.egress], which says where to".into()),
        (addresses, Some(section)) => {
            let egress = section.egress(config, arguments.to.deadlines(), in_flight.clone())?;
            for address in addresses {
                ports.push(Port::egress(*address, egress.clone())?);
            }
        }
    }
    let admin = arguments.process.admin.into_iter();
    let addresses = ports.iter().map(|port| port.address).chain(admin);
    let mut known = HashSet::new();
    for (port, address) in addresses.enumerate() {
        if address.port() == 0 || known.insert(address) {
            continue;
        }
        let problem = format!("{address} is the address of two ports: give each its own");
        // After the port of --listen come those of the configuration.
        return Err(match port.checked_sub(1) {
            Some(index) if index < program.listeners.len() => {
                let key = format!("program.listener[{index}].address");
                config.unusable(&key, problem).into()
            }
            _ => problem.into(),
        });
    }
    Ok(ports)
}
