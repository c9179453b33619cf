use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::Duration;

use axum::http::header::{AUTHORIZATION, LOCATION};
use axum::http::{HeaderMap, Method, StatusCode};
use ipnet::IpNet;
use portcullis::tls::certificates_in;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Response, Url};

use super::options::{Hosts, UpstreamOptions};
use super::{UpstreamError, UpstreamSetupError};

/// How often one question is redirected.
const REDIRECTS: usize = 5;

/// Addresses that are not of the public Internet (IANA's special-purpose registries; multicast).
static NOT_PUBLIC: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
    let text = "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 \
        192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 \
        203.0.113.0/24 224.0.0.0/3 \
        ::/96 64:ff9b:1::/48 100::/64 2001::/23 2001:db8::/32 2002::/16 3fff::/20 \
        5f00::/16 fc00::/7 fe80::/9 ff00::/8";
    // Each is one, which a test sees.
    let nets = text.split_ascii_whitespace();
    nets.filter_map(|net| net.parse().ok()).collect()
});

/// Sends questions, and follows where the upstream leads, but not into networks that only this machine
/// can reach: its own ports, its neighbours, a cloud's metadata.
pub(super) struct Reach {
    base: Url,
    /// For the upstream itself and what the operator named.
    named: Client,
    /// For everything else. It connects to public addresses alone.
    public: Client,
    hosts: Hosts,
}

/// An answer to a question.
pub(super) struct Answer {
    pub(super) response: Response,
    /// Whether it is the registry's own, and not that of a server or a storage to which it redirected: only
    /// the registry knows what it has.
    pub(super) own: bool,
}

impl Reach {
    pub(super) fn new(base: Url, options: &UpstreamOptions) -> Result<Self, UpstreamSetupError> {
        let mut roots = Vec::new();
        if let Some(path) = &options.ca {
            let wrong = |source| UpstreamSetupError::Certificate {
                path: path.display().to_string(),
                source,
            };
            for der in certificates_in(path)? {
                roots.push(Certificate::from_der(&der).map_err(wrong)?);
            }
        }
        let plain = base.scheme() == "http";
        // No way from a verified host to a plain one.
        let builder = || builder().https_only(!plain);
        let named = if plain || options.ca.is_some() {
            // Nothing to verify, so a system without CA certificates will do.
            builder().tls_certs_only(roots.clone())
        } else {
            builder()
        };
        // Layers may be kept with a provider that has a certificate of a public CA.
        let public = builder().tls_certs_merge(roots.clone());
        let public = public.dns_resolver(PublicAddresses).build();
        let public = match public {
            Err(_) if plain || options.ca.is_some() => {
                let builder = builder().tls_certs_only(roots);
                builder.dns_resolver(PublicAddresses).build()
            }
            built => built,
        };
        let named_hosts = [&options.redirects[..], &options.realms[..]].concat();
        Ok(Self {
            hosts: Hosts::new(&named_hosts).with_realm_of(&base),
            base,
            named: named.build().map_err(UpstreamSetupError::Client)?,
            public: public.map_err(UpstreamSetupError::Client)?,
        })
    }

    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    /// Sends a GET or HEAD. `Authorization` goes to the host of `url` alone. `heard` is called when that one
    /// answers, if only to lead elsewhere.
    ///
    /// # Errors
    /// There is no answer, or it leads where this mirror does not follow.
    pub(super) async fn ask(
        &self,
        method: &Method,
        mut url: Url,
        headers: HeaderMap,
        heard: impl Fn(),
    ) -> Result<Answer, UpstreamError> {
        let first = url.origin();
        let mut headers = headers;
        for hop in 0..=REDIRECTS {
            if url.origin() != first {
                headers.remove(AUTHORIZATION);
            }
            let request = self.client(&url)?.request(method.clone(), url.clone());
            let response = match request.headers(headers.clone()).send().await {
                Ok(response) => response,
                Err(error) => return Err(failed(error, &url, hop > 0)),
            };
            if url.origin() == first {
                heard();
            }
            let Some(target) = target(&response) else {
                let own = url.origin() == first && self.is_of_the_registry(&url);
                return Ok(Answer { response, own });
            };
            url = target;
        }
        Err(UpstreamError::Invalid("it redirects in circles"))
    }

    /// Whether the path is one of the distribution-spec's, and not of a storage or a page to log in.
    fn is_of_the_registry(&self, url: &Url) -> bool {
        let path = url.path().strip_prefix(self.base.path());
        path.is_some_and(|path| path.starts_with("v2/"))
    }

    fn client(&self, url: &Url) -> Result<&Client, UpstreamError> {
        if url.origin() == self.base.origin() || self.hosts.have(url) {
            return Ok(&self.named);
        }
        let host = url.host_str().unwrap_or_default();
        let literal = host.trim_matches(['[', ']']).parse::<IpAddr>();
        if literal.is_ok_and(|address| !is_public(address)) {
            return Err(UpstreamError::NotPublic(host.into()));
        }
        Ok(&self.public)
    }
}

/// What it means that a request failed: after a redirect nothing for the upstream itself.
fn failed(error: reqwest::Error, url: &Url, redirected: bool) -> UpstreamError {
    match error.into() {
        UpstreamError::NotConnected | UpstreamError::Unreachable(_) if redirected => {
            UpstreamError::Elsewhere(url.host_str().unwrap_or_default().into())
        }
        error => error,
    }
}

fn builder() -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("portcullis-mirror/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(10))
        // A transfer that waits for the disk must not use up what the others need.
        .http2_initial_connection_window_size((1 << 31) - 1)
        .redirect(Policy::none())
        .referer(false)
}

/// Where a redirect leads (RFC 9110 §15.4).
fn target(response: &Response) -> Option<Url> {
    let redirects = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let location = response.headers().get(LOCATION).filter(|_| redirects)?;
    let target = response.url().join(location.to_str().ok()?).ok()?;
    ["http", "https"]
        .contains(&target.scheme())
        .then_some(target)
}

/// Finds the addresses of a name and leaves out those that are not public. What is connected to is what
/// was looked at, so that no name changes its address in between.
struct PublicAddresses;

impl Resolve for PublicAddresses {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|found| is_public(found.ip())).collect();
            if public.is_empty() {
                return Err(UpstreamError::NotPublic(name.as_str().into()).into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

fn is_public(address: IpAddr) -> bool {
    let mut address = address.to_canonical();
    if let IpAddr::V6(v6) = address
        && let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = v6.segments()
    {
        // By a NAT64 gateway (RFC 6052) every IPv4 address is one of these.
        let bits = u32::from(high) << 16 | u32::from(low);
        address = Ipv4Addr::from_bits(bits).into();
    }
    !NOT_PUBLIC.iter().any(|net| net.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        assert_eq!(NOT_PUBLIC.len(), 25);
        for text in [
            "127.0.0.1",
            "127.255.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "169.254.169.254",
            "172.31.255.255",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "ff02::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1",
            "::ffff:8.8.8.8",
            "64:ff9b::101:101",
        ] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[tokio::test]
    async fn a_name_of_this_machine_has_no_public_address() {
        let found = PublicAddresses.resolve("localhost".parse().unwrap()).await;
        let error = found.err().unwrap();
        assert!(error.is::<UpstreamError>(), "{error}");
    }
}
