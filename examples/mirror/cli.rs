use std::net::SocketAddr;
use std::path::PathBuf;

use axum::http::HeaderValue;
use bytesize::ByteSize;
use clap::Parser;
use humantime::Duration;

use crate::browsers::{BrowsersLayer, origin};
use crate::housekeeping::Housekeeping;
use crate::process::Flags;
use crate::store::Limits;
use crate::upstream::{Host, Namespace, Patience, UpstreamOptions};

/// A guarded OCI registry mirror: a store on disk behind `portcullis::Guard`.
///
/// Without --config it makes itself demo keys under DIR/demo, once, and says how to pull with them.
/// Credentials for the upstream come from `MIRROR_UPSTREAM_USERNAME` and
/// `MIRROR_UPSTREAM_PASSWORD`; `RUST_LOG` says what is logged (default: info).
#[derive(Debug, Parser)]
#[command(name = "mirror", version)]
pub(crate) struct Arguments {
    /// Where images and demo keys are kept
    #[arg(long, value_name = "DIR", default_value = "./mirror-data")]
    pub(crate) data: PathBuf,

    /// Where to serve the registry, over TLS; port 0 picks one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:5000")]
    pub(crate) listen: SocketAddr,

    /// The gate's configuration (TOML; see examples/mirror.toml)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) process: Flags,

    /// After what time an upload that no client goes on with is removed, and so is a blob to which no
    /// manifest refers; 10s or more
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = lifetime)]
    pub(crate) upload_ttl: Duration,

    /// After what time a manifest without a tag is removed, if it was not used (default: never)
    #[arg(long, value_name = "TIME")]
    untagged_ttl: Option<Duration>,

    /// How much blobs and manifests may take, like 100GiB: of what was pulled through, what was used
    /// least lately is removed (default: no limit)
    #[arg(long, value_name = "SIZE")]
    max_size: Option<ByteSize>,

    /// How much of the file system stays free: what would take more is not kept
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    min_free: ByteSize,

    /// How often everything on the disk is read again, to find and heal what is damaged
    #[arg(long, value_name = "TIME", default_value = "7days")]
    scrub_every: Duration,

    /// An origin whose pages may read the registry from a browser, like `https://ui.example` (CORS); may
    /// come several times
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    allow_origin: Vec<HeaderValue>,

    #[command(flatten)]
    upstream: UpstreamArguments,
}

#[derive(Debug, clap::Args)]
struct UpstreamArguments {
    /// The registry from which to pull what is not here
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,

    /// PEM file of the CAs to trust for the upstream, instead of the system's
    #[arg(long, value_name = "FILE", requires = "upstream")]
    upstream_ca: Option<PathBuf>,

    /// A host besides the upstream's own that may see its credentials to give a token for them; that
    /// of docker.io is known
    #[arg(long, value_name = "HOST[:PORT]", requires = "upstream")]
    upstream_realm: Vec<Host>,

    /// A host to which the upstream may redirect although its address is not public
    #[arg(long, value_name = "HOST[:PORT]", requires = "upstream")]
    upstream_redirect: Vec<Host>,

    /// The registry that this is a mirror of, as containerd names it (?ns=docker.io); what is asked
    /// of another is not here
    #[arg(long, value_name = "HOST[:PORT]")]
    namespace: Option<Namespace>,

    /// For how long a tag of the upstream's is taken to be where it was
    #[arg(long, value_name = "TIME", default_value = "60s")]
    tag_ttl: Duration,
}

impl Arguments {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            max_size: self.max_size.map(|size| size.as_u64()),
            min_free: self.min_free.as_u64(),
        }
    }

    /// Where images are kept and how many, in plain words.
    pub(crate) fn store(&self) -> String {
        let size = match self.max_size {
            Some(size) => format!("{size} at the most"),
            None => "without a limit, because --max-size is not given".to_owned(),
        };
        format!(
            "images are kept in {}, {size}, as long as {} of its file system stay free",
            self.data.display(),
            self.min_free
        )
    }

    pub(crate) fn housekeeping(&self) -> Housekeeping {
        Housekeeping {
            unreferenced: *self.upload_ttl,
            untagged: self.untagged_ttl.map(|age| *age),
            scrub: *self.scrub_every,
        }
    }

    /// What answers browsers. Without an origin, a preflight is refused like any other request without
    /// credentials.
    pub(crate) fn browsers(&self) -> Option<BrowsersLayer> {
        let origins = &self.allow_origin;
        (!origins.is_empty()).then(|| BrowsersLayer::new(origins))
    }

    pub(crate) fn namespace(&self) -> Option<String> {
        self.upstream.namespace.as_ref().map(Namespace::to_string)
    }

    /// The upstream and the time after which its tags are looked at again, if there is one.
    pub(crate) fn upstream(&self) -> Option<(UpstreamOptions, std::time::Duration)> {
        let arguments = &self.upstream;
        let options = UpstreamOptions {
            url: arguments.upstream.clone()?,
            ca: arguments.upstream_ca.clone(),
            realms: arguments.upstream_realm.clone(),
            redirects: arguments.upstream_redirect.clone(),
            patience: Patience::default(),
        };
        Some((options, *arguments.tag_ttl))
    }
}

/// The shortest time after which what is not used is removed. When content was last used is known to the second, and a
/// client takes its time between a layer and the manifest that refers to it.
const SHORTEST_LIFETIME: std::time::Duration = std::time::Duration::from_secs(10);

fn lifetime(text: &str) -> Result<Duration, String> {
    let time: Duration = text
        .parse()
        .map_err(|error: humantime::DurationError| error.to_string())?;
    if *time < SHORTEST_LIFETIME {
        return Err("what a client has just pushed could be removed before it is referred to: write 10s or more".into());
    }
    Ok(time)
}
