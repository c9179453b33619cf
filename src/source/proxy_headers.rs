//! Headers in which proxies describe the client's request to a service.
//!
//! A service that believes them can be led anywhere: distribution builds its upload locations from
//! `X-Forwarded-Host`, frameworks route by `X-Rewrite-URL`, which no policy has looked at.

use http::{HeaderMap, HeaderName};

/// Every header that begins so is one, with the exceptions of [`CERTIFICATES`].
const PREFIX: &str = "x-forwarded-";

/// Further ones, by what they claim.
const OTHERS: [&str; 39] = [
    // The client's address.
    "forwarded",
    "x-forwarded",
    "x-forwarder-for",
    "forwarded-for",
    "x-real-ip",
    "x-client-ip",
    "client-ip",
    "true-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-original-forwarded-for",
    "cf-connecting-ip",
    "fastly-client-ip",
    // The host and the scheme.
    "x-host",
    "x-http-host-override",
    "x-original-host",
    "x-original-proto",
    "x-scheme",
    "x-url-scheme",
    "x-proxyuser-ip",
    "front-end-https",
    // The path and the method, after the policy has judged those of the request.
    "x-original-url",
    "x-original-uri",
    "x-original-method",
    "x-original-path",
    "x-envoy-original-path",
    "x-rewrite-url",
    "x-script-name",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    // The caller.
    "remote-user",
    "x-remote-user",
    "x-webauth-user",
    "x-client-cert",
    "x-client-certificate",
    "x-client-dn",
    "x-client-verify",
    "x-ssl-cert",
];

/// Every header that begins so is one too, but for those by which a proxy hands certificates on
/// ([`tls::ForwardedLayer`](crate::tls::ForwardedLayer), which spares them): all are counted as one.
const OF_CALLERS: [(&str, &str); 5] = [
    ("ssl-client-", "ssl-client"),
    ("x-ssl-client-", "ssl-client"),
    ("x-auth-request-", "x-auth-request"),
    ("x-remote-", "x-remote"),
    ("x-amzn-mtls-", "x-amzn-mtls"),
];

/// Client certificates, which [`tls::ForwardedLayer`](crate::tls::ForwardedLayer) removes: it has proxies of
/// its own.
const CERTIFICATES: [&str; 3] = [
    "x-forwarded-client-cert",
    "x-forwarded-tls-client-cert",
    "x-forwarded-tls-client-cert-info",
];

/// The letters that all of them begin with: `Host`, `Accept`, `User-Agent` and `Authorization`, of which most requests
/// have no more, are compared with none of them.
const FIRST: [u8; 6] = *b"cfrstx";

/// Those of [`PREFIX`] that are counted by their names. A metric's labels must not grow with what
/// clients think of.
const COUNTED: [&str; 12] = [
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-server",
    "x-forwarded-scheme",
    "x-forwarded-ssl",
    "x-forwarded-by",
    "x-forwarded-uri",
    "x-forwarded-method",
    "x-forwarded-user",
];

/// Under which name a header is counted, if it is one of a proxy's.
fn label(name: &HeaderName) -> Option<&'static str> {
    let name = name.as_str();
    if !name
        .as_bytes()
        .first()
        .is_some_and(|first| FIRST.contains(first))
    {
        return None;
    }
    // Gateways to CGI and WSGI make both signs one.
    let dashed = name.contains('_').then(|| name.replace('_', "-"));
    let name = dashed.as_deref().unwrap_or(name);
    let among = |known: &[&'static str]| known.iter().copied().find(|known| *known == name);
    if name.starts_with(PREFIX) {
        return match among(&CERTIFICATES) {
            Some(_) => None,
            None => Some(among(&COUNTED).unwrap_or("x-forwarded-other")),
        };
    }
    among(&OTHERS).or_else(|| {
        let mut prefixes = OF_CALLERS.iter();
        let found = prefixes.find(|(prefix, _)| name.starts_with(prefix));
        found.map(|(_, label)| *label)
    })
}

/// The proxies' headers that a request has, but for `spared` ones, with the names they are counted under.
pub(super) fn among(headers: &HeaderMap, spared: &[HeaderName]) -> Vec<(HeaderName, &'static str)> {
    let found = headers.keys().filter_map(|name| Some((name, label(name)?)));
    let found = found.filter(|(name, _)| !spared.contains(name));
    found.map(|(name, label)| (name.clone(), label)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_them_begins_with_one_of_the_letters() {
        let prefixes = OF_CALLERS.iter().map(|(prefix, _)| *prefix);
        for name in OTHERS.into_iter().chain(prefixes).chain([PREFIX]) {
            assert!(FIRST.contains(&name.as_bytes()[0]), "{name}");
        }
    }

    #[test]
    fn headers_of_proxies_are_known_by_any_spelling_and_no_others_are() {
        for (name, expected) in [
            ("X-Forwarded-Host", Some("x-forwarded-host")),
            ("x_forwarded_host", Some("x-forwarded-host")),
            ("X-Forwarded_Proto", Some("x-forwarded-proto")),
            ("X-Forwarded-Anything", Some("x-forwarded-other")),
            ("X-Forwarded-Groups", Some("x-forwarded-other")),
            ("Forwarded", Some("forwarded")),
            ("X-Real-IP", Some("x-real-ip")),
            ("X-Original-URL", Some("x-original-url")),
            ("X_REWRITE_URL", Some("x-rewrite-url")),
            ("X-HTTP-Method-Override", Some("x-http-method-override")),
            ("Ssl-Client-Verify", Some("ssl-client")),
            ("X_SSL_Client_Dn", Some("ssl-client")),
            ("X-Auth-Request-User", Some("x-auth-request")),
            ("X-WebAuth-User", Some("x-webauth-user")),
            ("X-Client-Cert", Some("x-client-cert")),
            ("X-Amzn-Mtls-Clientcert-Leaf", Some("x-amzn-mtls")),
            ("X-Forwarded-Client-Cert", None),
            ("Host", None),
            ("Authorization", None),
            ("X-Request-Id", None),
            ("Docker-Content-Digest", None),
            ("X-Registry-Auth", None),
        ] {
            let name: HeaderName = name.parse().unwrap();
            assert_eq!(label(&name), expected, "{name}");
        }
    }
}
