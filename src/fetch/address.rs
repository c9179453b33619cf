use std::collections::HashSet;

use reqwest::Url;

use super::HttpError;

/// The hosts that may be asked, each with its port.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts(HashSet<(String, u16)>);

/// A URL to fetch from.
pub(crate) fn parse(text: &str) -> Result<Url, HttpError> {
    let url = Url::parse(text).map_err(|_| HttpError::Address)?;
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    if plain && matches!(url.scheme(), "http" | "https") && url.host_str().is_some() {
        Ok(url)
    } else {
        Err(HttpError::Address)
    }
}

/// A URL for logs and metrics: without its query, which may hold a token.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.into()
}

/// What an operator wrote for a URL and is none, for an error: without a user and password, and without a query.
#[cfg(feature = "crl-fetch")]
pub(crate) fn shown_text(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let rest = rest.rsplit('@').next().unwrap_or_default();
    match scheme {
        "" => rest.to_owned(),
        scheme => format!("{scheme}://{rest}"),
    }
}

impl Hosts {
    pub(crate) fn new<'a>(
        urls: impl IntoIterator<Item = &'a Url>,
        allowed: &[String],
    ) -> Result<Self, HttpError> {
        let mut hosts: HashSet<_> = urls.into_iter().filter_map(place).collect();
        for host in allowed {
            let whole = Url::parse(&format!("http://{host}"))
                .ok()
                .filter(|url| matches!(url.path(), "" | "/") && parse(url.as_str()).is_ok())
                .filter(|url| url.query().is_none() && !host.ends_with('/'));
            let Some(url) = whole else {
                return Err(HttpError::Host(host.clone()));
            };
            let name = url.host_str().unwrap_or_default().to_owned();
            match url.port() {
                Some(port) => {
                    hosts.insert((name, port));
                }
                None if host.ends_with(":80") => {
                    hosts.insert((name, 80));
                }
                None => hosts.extend([(name.clone(), 80), (name, 443)]),
            }
        }
        Ok(Self(hosts))
    }

    pub(super) fn allow(&self, url: &Url) -> bool {
        parse(url.as_str()).is_ok() && place(url).is_some_and(|place| self.0.contains(&place))
    }
}

fn place(url: &Url) -> Option<(String, u16)> {
    let host = url.host_str()?.to_owned();
    url.port_or_known_default().map(|port| (host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_of_http_and_names_no_user() {
        for right in [
            "http://crl.example.org/nodes.crl",
            "https://crl.example.org:8443/nodes.crl?version=2",
            "http://[::1]:8080/crl",
            "http://10.0.0.7/crl",
        ] {
            assert!(parse(right).is_ok(), "{right}");
        }
        for wrong in [
            "",
            "crl.example.org/nodes.crl",
            "ldap://ldap.example.org/cn=ca?certificateRevocationList",
            "file:///etc/shadow",
            "ftp://crl.example.org/nodes.crl",
            "http://user@crl.example.org/",
            "http://user:secret@crl.example.org/",
            "http://crl.example.org/#part",
            "http:///nodes.crl?",
            "data:,x",
        ] {
            let parsed = parse(wrong);
            // An empty authority is skipped by the URL standard: what comes next is the host.
            if wrong.starts_with("http:///") {
                assert_eq!(parsed.unwrap().host_str(), Some("nodes.crl"));
            } else {
                assert!(parsed.is_err(), "{wrong}");
            }
        }
    }

    #[test]
    fn only_the_hosts_of_the_urls_and_allowed_ones_are_allowed_with_their_ports() {
        let url = |text| parse(text).unwrap();
        let hosts = Hosts::new(
            [&url("http://crl.example.org:8080/a")],
            &[
                "cdn.example.org".to_owned(),
                "other:81".to_owned(),
                "third:80".to_owned(),
            ],
        )
        .unwrap();
        for (text, allowed) in [
            ("http://crl.example.org:8080/b", true),
            ("http://CRL.example.org:8080/b", true),
            ("http://crl.example.org/a", false),
            ("http://crl.example.org.:8080/a", false),
            ("http://cdn.example.org/x", true),
            ("https://cdn.example.org/x", true),
            ("https://cdn.example.org:6379/x", false),
            ("http://other:81/", true),
            ("http://other/", false),
            ("http://third/", true),
            ("https://third/", false),
            ("http://169.254.169.254/latest/meta-data", false),
        ] {
            assert_eq!(hosts.allow(&url(text)), allowed, "{text}");
        }
        for wrong in ["", "a b", "http://x", "x/path", "user@x", "x:99999", "x/"] {
            assert!(Hosts::new([], &[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_logged_has_no_query() {
        let url = parse("http://crl.example.org/a?token=secret").unwrap();
        assert_eq!(shown(&url), "http://crl.example.org/a");
    }

    #[cfg(feature = "crl-fetch")]
    #[test]
    fn an_error_shows_neither_the_user_nor_the_query_of_what_was_written() {
        for (written, shown) in [
            ("http://user:secret@host/x?token=secret", "http://host/x"),
            ("http://user:se@cret@host/x", "http://host/x"),
            ("http://user:secret@", "http://"),
            ("user:secret@host/x#secret", "host/x"),
            ("ldap://host/cn=ca", "ldap://host/cn=ca"),
            ("", ""),
        ] {
            assert_eq!(shown_text(written), shown, "{written}");
        }
    }
}
