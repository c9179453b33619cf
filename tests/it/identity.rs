//! Who a certificate names, and what hostile ones do not.
#![cfg(all(feature = "tls", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, clippy::too_many_lines, reason = "tests")]

use crate::pki;

use pki::Ca;
use portcullis::PeerIdentity;
use portcullis::identity::forwarded::{pem, rfc9440, xfcc};
use portcullis::identity::{IdentityError, Mapping, Rule};
use proptest::prelude::*;
use rcgen::{
    CertificateParams, CustomExtension, DnType, DnValue, ExtendedKeyUsagePurpose, KeyUsagePurpose,
    SanType,
};

const OPEN_QUOTE: &str = "a quote is not closed";

#[track_caller]
fn assert_said<T: std::fmt::Debug>(result: Result<T, IdentityError>, words: &str) {
    let error = result.unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
}

fn with(change: impl FnOnce(&mut CertificateParams)) -> Result<PeerIdentity, IdentityError> {
    PeerIdentity::from_der(&Ca::new("CA").leaf("x", change).der)
}

/// The tag of a `GeneralName` and its content.
type Name<'a> = (u8, &'a [u8]);

/// Subject alternative names of these tags and contents, as they are.
fn with_names(names: &[Name<'_>]) -> Result<PeerIdentity, IdentityError> {
    with_extension(names, |_| {})
}

fn with_extension(
    names: &[Name<'_>],
    change: impl FnOnce(&mut CertificateParams),
) -> Result<PeerIdentity, IdentityError> {
    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len();
        let mut der = vec![tag];
        if length < 128 {
            der.push(u8::try_from(length).unwrap());
        } else {
            der.push(0x84);
            der.extend(u32::try_from(length).unwrap().to_be_bytes());
        }
        der.extend(content);
        der
    }
    let content: Vec<u8> = names
        .iter()
        .flat_map(|(tag, content)| tlv(0x80 | tag, content))
        .collect();
    let extension = CustomExtension::from_oid_content(&[2, 5, 29, 17], tlv(0x30, &content));
    with(|params| {
        params.custom_extensions = vec![extension];
        change(params);
    })
}

const DNS: u8 = 2;
const URI: u8 = 6;
const IP: u8 = 7;

#[test]
fn a_certificate_with_two_uri_names_has_no_spiffe_id() {
    let one = with_names(&[(URI, b"spiffe://a/b")]).unwrap();
    assert_eq!(one.spiffe_id(), Some("spiffe://a/b"));
    assert_eq!(one.trust_domain(), Some("a"));
    assert_eq!(one.name(), "spiffe://a/b");
    let two = with_names(&[(URI, b"spiffe://a/b"), (URI, b"spiffe://a/c")]).unwrap();
    assert_eq!(two.spiffe_id(), None);
    assert_eq!(two.name(), "CN=x");
    assert_said(two.x509_svid(), "this one has 2");
    let malformed = with_names(&[(URI, b"spiffe://A/b")]).unwrap();
    assert_eq!(malformed.spiffe_id(), None);
    assert_said(
        malformed.x509_svid(),
        "a trust domain has lowercase letters",
    );
}

#[test]
fn hostile_names_are_errors_and_never_an_identity() {
    let long = [b'a'; 300];
    let table: [(&str, &[Name<'_>]); 12] = [
        ("a NUL in a DNS name", &[(DNS, b"admin\0.example.org")]),
        ("a NUL in a URI", &[(URI, b"spiffe://a/admin\0x")]),
        (
            "a new line in a URI",
            &[(URI, b"spiffe://a/b\nprincipal=root")],
        ),
        ("invalid UTF-8", &[(DNS, b"adm\xffin")]),
        (
            "a letter that only looks like one",
            &[(DNS, "аdmin".as_bytes())],
        ),
        ("a space", &[(DNS, b"admin ")]),
        ("an empty DNS name", &[(DNS, b"")]),
        ("a long DNS name", &[(DNS, &long)]),
        ("a DNS name that is a URI", &[(DNS, b"spiffe://a/b")]),
        ("an IP address of five bytes", &[(IP, b"12345")]),
        (
            "one good name and one bad",
            &[(DNS, b"good.example.org"), (URI, b"\x01")],
        ),
        ("a network for an address", &[(IP, b"\x0a\0\0\0\xff\0\0\0")]),
    ];
    for (what, names) in table {
        assert!(
            with_names(names).is_err(),
            "{what}: {:?}",
            with_names(names)
        );
    }
}

#[test]
fn a_megabyte_of_name_is_an_error_at_once() {
    let megabyte = vec![b'a'; 1 << 20];
    let error = with_names(&[(DNS, &megabyte)]).unwrap_err();
    assert!(
        matches!(error, IdentityError::TooLarge { what: "DER", .. }),
        "{error}"
    );
    let name = "n".repeat(8_000);
    let error = with(|params| params.distinguished_name.push(DnType::CommonName, &*name));
    let error = error.unwrap_err();
    assert!(
        matches!(
            error,
            IdentityError::TooLarge {
                what: "subject",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_certificate_is_as_large_as_a_handshake_message_at_most() {
    let ca = Ca::new("CA");
    let made = |padding: usize| {
        ca.leaf("x", |params| {
            let oid = &[1, 3, 6, 1, 4, 1, 32473, 1];
            let padding = CustomExtension::from_oid_content(oid, vec![0; padding]);
            params.custom_extensions = vec![padding];
        })
    };
    let most = 64 * 1024;
    let padding = 60_000 + most - made(60_000).der.len();
    // A signature is some bytes shorter or longer each time, that of the first one too.
    let of_length = |length: usize| {
        let paddings = (padding - 4..=padding + 4).cycle();
        let mut made = paddings.map(|padding| made(padding).der);
        made.find(|der| der.len() == length).unwrap()
    };
    PeerIdentity::from_der(&of_length(most)).unwrap();
    let error = PeerIdentity::from_der(&of_length(most + 1)).unwrap_err();
    assert!(
        matches!(error, IdentityError::TooLarge { what: "DER", length, .. } if length > most),
        "{error}"
    );
}

#[test]
fn a_subject_and_an_issuer_have_4_kib_at_most() {
    let name = |length| "n".repeat(length);
    let subject = |length| {
        with(|params| {
            params
                .distinguished_name
                .push(DnType::CommonName, name(length));
        })
    };
    let issuer = |length| PeerIdentity::from_der(&Ca::new(&name(length)).leaf("x", |_| {}).der);
    for field in ["subject", "issuer"] {
        let identity = |length| match field {
            "subject" => subject(length),
            _ => issuer(length),
        };
        let Err(IdentityError::TooLarge { what, length, .. }) = identity(8_000) else {
            panic!("{field}");
        };
        assert_eq!(what, field);
        // What is around the name itself.
        let around = length - 8_000;
        identity(4_096 - around).unwrap();
        let error = identity(4_097 - around).unwrap_err();
        assert!(
            matches!(error, IdentityError::TooLarge { what, length: 4_097, .. } if what == field),
            "{error}"
        );
    }
}

#[test]
fn names_are_written_by_rfc_4514_and_stay_on_their_line() {
    let table: [(&str, &str); 8] = [
        ("plain", "CN=plain"),
        ("a,b+c\"d\\e<f>g;h", "CN=a\\,b\\+c\\\"d\\\\e\\<f\\>g\\;h"),
        (" lead", "CN=\\ lead"),
        ("trail ", "CN=trail\\ "),
        ("#hash", "CN=\\#hash"),
        ("in#side and mid dle", "CN=in#side and mid dle"),
        ("a\nb\0c\u{7f}", "CN=a\\0Ab\\00c\\7F"),
        ("Lučić \u{202e}x", "CN=Lučić \\E2\\80\\AEx"),
    ];
    for (name, text) in table {
        let identity = with(|params| params.distinguished_name.push(DnType::CommonName, name));
        assert_eq!(identity.unwrap().subject(), text);
    }
    let identity = with(|params| {
        let name = &mut params.distinguished_name;
        *name = rcgen::DistinguishedName::new();
        name.push(DnType::CountryName, "DE");
        name.push(DnType::OrganizationName, "Nodes, Inc.");
        name.push(DnType::CommonName, "node-7");
        name.push(DnType::CustomDnType(vec![1, 2, 3, 4]), "x");
    });
    let identity = identity.unwrap();
    assert_eq!(
        identity.subject(),
        "1.2.3.4=#0c0178,CN=node-7,O=Nodes\\, Inc.,C=DE"
    );
    assert_eq!(identity.issuer(), "CN=CA");
    let organization: Vec<_> = identity.subject_attribute("O").collect();
    assert_eq!(organization, ["Nodes, Inc."]);
}

#[test]
fn a_bmp_string_is_read_as_the_text_that_it_is() {
    let bmp = "Müller"
        .encode_utf16()
        .flat_map(u16::to_be_bytes)
        .collect::<Vec<_>>();
    let bmp = rcgen::string::BmpString::from_utf16be(bmp).unwrap();
    let identity = with(|params| {
        params
            .distinguished_name
            .push(DnType::CommonName, DnValue::BmpString(bmp));
    });
    assert_eq!(identity.unwrap().subject(), "CN=Müller");
}

#[test]
fn a_certificate_without_a_subject_is_called_by_its_names_and_one_without_names_is_nobody() {
    let empty = |params: &mut CertificateParams| {
        params.distinguished_name = rcgen::DistinguishedName::new();
    };
    assert_eq!(with(empty).unwrap_err(), IdentityError::Nobody);
    let mail = with(|params| {
        empty(params);
        let name = "ops@example.org".try_into().unwrap();
        params.subject_alt_names = vec![SanType::Rfc822Name(name)];
    });
    assert_eq!(mail.unwrap().name(), "email:ops@example.org");
}

#[test]
fn a_last_resort_is_never_anothers_id() {
    const EMAIL: u8 = 1;
    // The name of the certificate's owner; none where the certificate is refused.
    let called = |names: &[Name<'_>]| {
        let identity = with_extension(names, |params| {
            params.distinguished_name = rcgen::DistinguishedName::new();
        });
        identity.ok().map(|identity| identity.name().to_owned())
    };
    let table: [(&str, &[Name<'_>], Option<&str>); 10] = [
        (
            "a SPIFFE ID beside another URI",
            &[(URI, b"spiffe://a/admin"), (URI, b"https://x.example")],
            Some("uri:https://x.example"),
        ),
        (
            "two SPIFFE IDs",
            &[(URI, b"spiffe://a/admin"), (URI, b"spiffe://a/b")],
            None,
        ),
        (
            "a SPIFFE ID that breaks the rules",
            &[(URI, b"spiffe://A/admin")],
            None,
        ),
        (
            "its scheme in capitals",
            &[(URI, b"SPIFFE://a/admin")],
            None,
        ),
        (
            "a URI like a mapped id",
            &[(URI, b"node:n7")],
            Some("uri:node:n7"),
        ),
        ("an e-mail like a subject", &[(EMAIL, b"CN=admin")], None),
        (
            "an e-mail without a name",
            &[(EMAIL, b"@example.org")],
            None,
        ),
        ("an e-mail without a host", &[(EMAIL, b"admin@")], None),
        (
            "an e-mail",
            &[(EMAIL, b"CN=admin@example.org")],
            Some("email:CN=admin@example.org"),
        ),
        ("an address", &[(IP, b"\x0a\0\0\x09")], Some("ip:10.0.0.9")),
    ];
    for (what, names, expected) in table {
        assert_eq!(called(names).as_deref(), expected, "{what}");
    }
}

#[test]
fn a_common_name_counts_only_where_there_is_no_other_usable_or_not() {
    let mapping = Mapping::default().with_common_name(true);
    for (others, id) in [
        (&[][..], "admin"),
        (&["other"], "CN=admin,CN=other"),
        (&["a\0b"], "CN=admin,CN=a\\00b"),
    ] {
        let identity = with(|params| {
            let name = &mut params.distinguished_name;
            *name = rcgen::DistinguishedName::new();
            for other in others {
                name.push(DnType::CommonName, *other);
            }
            // rcgen keeps one attribute of a type, so the second is of a type made up for it.
            name.push(DnType::CustomDnType(vec![2, 5, 4, 3]), "admin");
        });
        let principal = mapping.principal(&identity.unwrap());
        assert_eq!(principal.id(), id);
    }
}

#[test]
fn an_x509_svid_has_the_constraints_of_its_specification() {
    let svid = |change: fn(&mut CertificateParams)| {
        with(|params| {
            let uri = "spiffe://example.org/ns/ci".try_into().unwrap();
            params.subject_alt_names = vec![SanType::URI(uri)];
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            change(params);
        })
        .unwrap()
        .x509_svid()
        .map(str::to_owned)
    };
    assert_eq!(svid(|_| {}).unwrap(), "spiffe://example.org/ns/ci");
    assert_said(
        svid(|params| params.key_usages.clear()),
        "key usage is critical",
    );
    assert_said(
        svid(|params| params.key_usages.push(KeyUsagePurpose::CrlSign)),
        "key usage is critical",
    );
    assert_said(
        svid(|params| params.key_usages.push(KeyUsagePurpose::KeyCertSign)),
        "key usage is critical",
    );
    assert_said(
        svid(|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]),
        "key usage is critical",
    );
    for only in [
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::ServerAuth,
    ] {
        let own = with(|params| {
            let uri = "spiffe://example.org/ns/ci".try_into().unwrap();
            params.subject_alt_names = vec![SanType::URI(uri)];
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![only];
        });
        assert_said(own.unwrap().x509_svid(), "extended key usage");
    }
    let both = svid(|params| {
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
    });
    assert_eq!(both.unwrap(), "spiffe://example.org/ns/ci");
    assert_said(
        svid(|params| {
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        }),
        "a leaf is no CA",
    );
    assert_said(
        svid(|params| {
            let uri = "spiffe://example.org".try_into().unwrap();
            params.subject_alt_names = vec![SanType::URI(uri)];
        }),
        "SPIFFE ID has a path",
    );
}

fn node() -> PeerIdentity {
    with(|params| {
        let name = &mut params.distinguished_name;
        *name = rcgen::DistinguishedName::new();
        name.push(DnType::OrganizationName, "system:nodes");
        name.push(DnType::CommonName, "system:node:n7");
        params.subject_alt_names = vec![
            SanType::DnsName("n7.Example.org".try_into().unwrap()),
            SanType::IpAddress("10.1.2.3".parse().unwrap()),
        ];
    })
    .unwrap()
}

#[test]
fn the_first_rule_that_matches_makes_the_principal() {
    let nodes = Rule::new("node:{name}").unwrap();
    let nodes = nodes.when("subject.O", "system:nodes").unwrap();
    let nodes = nodes.when("subject.CN", "system:node:{name}").unwrap();
    let nodes = nodes
        .in_group("nodes")
        .unwrap()
        .in_group("node-{name}")
        .unwrap();
    let hosts = Rule::new("host").unwrap().when("dns", "**").unwrap();
    let mapping = Mapping::new([nodes.clone(), hosts.clone()]).unwrap();
    let node = node();
    let principal = mapping.principal(&node);
    assert_eq!(principal.to_string(), "cert:node:n7");
    assert_eq!(
        principal.groups(),
        ["nodes", "node-n7"].map(Box::<str>::from)
    );
    assert_eq!(principal.peer(), Some(&node));
    let mapping = Mapping::new([hosts, nodes]).unwrap();
    assert_eq!(mapping.principal(&node).to_string(), "cert:host");
    let principal = Mapping::default().principal(&node);
    assert_eq!(principal.to_string(), "cert:n7.example.org");
    assert!(principal.groups().is_empty());
}

#[test]
fn a_rule_matches_whole_values_of_its_field_only() {
    for (field, pattern, matches) in [
        ("subject.O", "system:nodes", true),
        ("subject.O", "system:node", false),
        ("subject.O", "system:*", true),
        ("subject.OU", "*", false),
        ("subject", "CN=system:node:{n},O=system:nodes", true),
        ("subject.CN", "SYSTEM:NODE:N7", false),
        ("dns", "*.example.org", true),
        ("dns", "*.Example.ORG", true),
        ("dns", "{host}.example.org", true),
        ("dns", "*.org", false),
        ("dns", "{all}.org", false),
        ("dns", "**.org", true),
        ("dns", "*.example.com", false),
        ("dns", "n7.example.org\n", false),
        ("dns", "n7xexample.org", false),
        ("ip", "10.0.0.0/8", true),
        ("ip", "10.1.2.3", true),
        ("ip", "10.2.0.0/16", false),
        ("issuer", "CN=CA", true),
        ("spiffe", "**", false),
        ("email", "**", false),
        ("fingerprint", "**", true),
    ] {
        let rule = Rule::new("it").unwrap().when(field, pattern).unwrap();
        let principal = Mapping::new([rule]).unwrap().principal(&node());
        assert_eq!(principal.id() == "it", matches, "{field} {pattern}");
    }
}

#[test]
fn a_rule_that_cannot_be_meant_is_an_error() {
    let rule = || Rule::new("x").unwrap();
    for nothing in ["", " "] {
        assert!(Rule::new(nothing).is_err() && rule().in_group(nothing).is_err());
    }
    assert_said(rule().when("cn", "x"), "no field of a certificate");
    for pattern in ["{", "}", "{a", "{a b}", "{}", "{1}", "{a}{a}"] {
        assert_said(rule().when("dns", pattern), "is no pattern");
    }
    assert_said(rule().when("ip", "10.*"), "no IP address or network");
    assert_said(Mapping::new([rule()]), "a rule needs a condition");
    let uses = Rule::new("{name}").unwrap().when("dns", "*").unwrap();
    assert_said(Mapping::new([uses]), "no condition of the rule captures it");
    let twice = rule().when("dns", "{a}").unwrap().when("uri", "{a}");
    assert_said(twice, "is no pattern");
}

#[test]
fn xfcc_is_read_as_envoy_reads_it() {
    let vectors = include_str!("../vectors/xfcc_vectors.json");
    let vectors: Vec<serde_json::Value> = serde_json::from_str(vectors).unwrap();
    assert_eq!(vectors.len(), 7);
    for vector in vectors {
        let header = vector["header"].as_str().unwrap();
        let parsed = xfcc::parse(header);
        // Envoy's own reader takes the first URI of any element; here each keeps its own.
        let uri = parsed
            .as_ref()
            .ok()
            .and_then(|elements| elements.iter().find_map(|element| element.uri.first()));
        assert_eq!(uri.map(String::as_str), vector["uri"].as_str(), "{header}");
    }
    assert_said(xfcc::parse("URI=\"abc;DNS=example.com"), OPEN_QUOTE);
}

#[test]
fn a_broken_xfcc_is_an_error_as_a_whole() {
    for (value, error) in [
        ("", "a part has no equals sign"),
        ("Hash", "a part has no equals sign"),
        ("Hash=a,", "a part has no equals sign"),
        ("Hash,By=a", "a part has no equals sign"),
        ("Hash;By=a", "a part has no equals sign"),
        ("Hash\"\",By=a", "a part has no equals sign"),
        ("=a", "a part has no equals sign"),
        ("Hash=a;Hash=b", "a field is there twice"),
        ("Subject=\"a\"b", "something follows a closing quote"),
        ("Subject=a\"b\"", "something follows a closing quote"),
        ("Subject=\"a\\", OPEN_QUOTE),
        ("Subject=ä", "not visible ASCII"),
    ] {
        assert_said(xfcc::parse(value), error);
    }
    let elements = xfcc::parse("by=a;BY=b;Hash=1,Hash=2;New=x;Subject=\"\"").unwrap();
    assert_eq!(elements.len(), 2);
    assert_eq!(elements[0].by, ["a", "b"]);
    assert_eq!(elements[1].hash.as_deref(), Some("2"));
}

#[test]
fn the_certificate_of_rfc_9440_is_read() {
    let vector = include_str!("../vectors/rfc9440_vectors.json");
    let vector: serde_json::Value = serde_json::from_str(vector).unwrap();
    let der = rfc9440::item(vector["client_cert_header"].as_str().unwrap()).unwrap();
    assert_eq!(der, include_bytes!("../vectors/rfc9440_leaf.der"));
    let identity = PeerIdentity::from_der(&der).unwrap();
    assert_eq!(identity.subject(), "CN=BC");
    assert_eq!(
        identity.fingerprint_hex(),
        vector["leaf_der_sha256"].as_str().unwrap()
    );
    assert_eq!(&*identity.emails()[0], "bdc@example.com");
    for wrong in [
        "",
        ":",
        "::",
        "YWJj",
        ":YWJj",
        ":YWJ:",
        ":YWJj:;a=1",
        ":YW Jj:",
    ] {
        assert_said(rfc9440::item(wrong), "no byte sequence of RFC 8941");
    }
    assert_eq!(
        rfc9440::list(":YWJj:, :YWJk:").unwrap(),
        [b"abc".to_vec(), b"abd".to_vec()]
    );
    let long = [":YWJj:"; 17].join(",");
    assert_said(rfc9440::list(&long), "it is too long");
}

#[test]
fn nginx_escapes_are_undone_and_a_plus_sign_stays() {
    let ca = Ca::new("CA");
    let pem_text = ca.client("node-7").pem;
    let escaped: String = pem_text
        .bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect();
    let ders = pem::unescape(&escaped).unwrap();
    assert_eq!(
        PeerIdentity::from_der(&ders[0]).unwrap().subject(),
        "CN=node-7"
    );
    let unescaped_plus = pem_text.replace('\n', "%0A").replace(' ', "%20");
    assert_eq!(pem::unescape(&unescaped_plus).unwrap(), ders);
    for (wrong, error) in [
        ("%", "not followed by two hexadecimal digits"),
        ("%+1", "not followed by two hexadecimal digits"),
        ("%zz", "not followed by two hexadecimal digits"),
        ("%ff", "not visible ASCII"),
        ("", "there is nothing in it"),
        ("x", "it is no PEM certificate"),
    ] {
        assert_said(pem::unescape(wrong), error);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_certificate_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = PeerIdentity::from_der(&bytes);
    }

    #[test]
    fn no_change_to_a_certificate_makes_it_panic(at in 0_usize..400, byte in any::<u8>()) {
        let mut der = include_bytes!("../vectors/rfc9440_leaf.der").to_vec();
        let at = at % der.len();
        der[at] = byte;
        if let Ok(identity) = PeerIdentity::from_der(&der) {
            prop_assert!(!identity.name().is_empty());
            prop_assert!(!identity.name().chars().any(char::is_control));
        }
    }

    #[test]
    fn no_header_makes_a_reader_panic(value in "\\PC{0,80}", hostile in "[%=;,\"\\\\a:]{0,40}") {
        for value in [value, hostile] {
            let _ = xfcc::parse(&value);
            let _ = rfc9440::list(&value);
            let _ = pem::unescape(&value);
        }
    }
}

/// Records the labels of gauges as they are, before any exporter escapes them.
#[cfg(feature = "metrics")]
#[derive(Debug, Default)]
struct LabelRecorder(std::sync::Mutex<Vec<metrics::Key>>);

#[cfg(feature = "metrics")]
impl LabelRecorder {
    fn has(&self, metric: &str, label: &str, value: &str) -> bool {
        self.0.lock().unwrap().iter().any(|key| {
            let mut labels = key.labels();
            key.name() == metric && labels.any(|one| one.key() == label && one.value() == value)
        })
    }
}

#[cfg(feature = "metrics")]
impl metrics::Recorder for LabelRecorder {
    fn describe_counter(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }

    fn describe_gauge(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }

    fn describe_histogram(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }

    fn register_counter(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        metrics::Counter::noop()
    }

    fn register_gauge(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        self.0.lock().unwrap().push(key.clone());
        metrics::Gauge::noop()
    }

    fn register_histogram(
        &self,
        _: &metrics::Key,
        _: &metrics::Metadata<'_>,
    ) -> metrics::Histogram {
        metrics::Histogram::noop()
    }
}

#[cfg(all(feature = "crl", feature = "metrics"))]
#[test]
fn a_ca_and_a_serial_number_are_the_same_text_wherever_they_are_told() {
    use pki::extended::encode;
    use portcullis::crl::{CertPath, Options, Revocation, Verdict};
    use std::time::SystemTime;

    const COMMON_NAME: &[u8] = b"\x55\x04\x03";
    const ORGANIZATION: &[u8] = b"\x55\x04\x0a";
    const EMAIL: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01";
    /// The type of an attribute, the tag of its value, and its value.
    type Attribute<'a> = (&'a [u8], u8, &'a [u8]);
    const TABLE: [(&[&[Attribute<'_>]], &str); 11] = [
        (
            &[&[(COMMON_NAME, 0x0c, "Knoten Ä".as_bytes())]],
            "CN=Knoten Ä",
        ),
        (&[&[(COMMON_NAME, 0x13, b"Nodes")]], "CN=Nodes"),
        (&[&[(COMMON_NAME, 0x1e, b"\0N\x01\x53")]], "CN=N\u{153}"),
        (&[&[(COMMON_NAME, 0x14, b"K\xf6ln")]], "CN=K\u{f6}ln"),
        (
            &[&[(COMMON_NAME, 0x0c, b" a,b+c=\"d\"\\;<e> ")]],
            "CN=\\ a\\,b\\+c=\\\"d\\\"\\\\\\;\\<e\\>\\ ",
        ),
        (&[&[(COMMON_NAME, 0x0c, b"#1")]], "CN=\\#1"),
        (
            &[&[(COMMON_NAME, 0x0c, "a\nb\u{202e}".as_bytes())]],
            "CN=a\\0Ab\\E2\\80\\AE",
        ),
        (
            &[
                &[(ORGANIZATION, 0x0c, b"o")],
                &[(COMMON_NAME, 0x0c, b"a"), (ORGANIZATION, 0x0c, b"b")],
            ],
            "CN=a+O=b,O=o",
        ),
        (
            &[&[(ORGANIZATION, 0x0c, b"")], &[(COMMON_NAME, 0x0c, b"")]],
            "CN=,O=",
        ),
        (
            &[&[(EMAIL, 0x16, b"a@b")]],
            "1.2.840.113549.1.9.1=#1603614062",
        ),
        (&[&[(COMMON_NAME, 0x03, b"\0\xff")]], "CN=#030200ff"),
    ];
    let ca = Ca::new("Placeholder");
    let set = |attributes: &&[Attribute<'_>]| {
        let attributes = attributes.iter().flat_map(|(kind, tag, value)| {
            encode(0x30, &[encode(6, kind), encode(*tag, value)].concat())
        });
        encode(0x31, &attributes.collect::<Vec<_>>())
    };
    let name = |relative: &[&[Attribute<'_>]]| {
        encode(0x30, &relative.iter().flat_map(set).collect::<Vec<_>>())
    };
    let placeholder = name(&[&[(COMMON_NAME, 0x0c, b"Placeholder")]]);
    let leaf = ca.client_with("node", |params| {
        params.serial_number = Some(vec![0x9a, 0xbc].into());
    });
    let list = ca.crl(1, &[0x9abc]);
    for (relative, text) in TABLE {
        let renamed = |der: &[u8]| ca.renaming(der, &placeholder, &name(relative));
        let [ca_der, leaf, list] = [&*ca.der, &*leaf.der, list.der()].map(renamed);
        let identity = PeerIdentity::from_der(&leaf).unwrap();
        assert_eq!(identity.issuer(), text);
        assert_eq!(PeerIdentity::from_der(&ca_der).unwrap().subject(), text);
        let files = pki::Files::new();
        let bundle = files.put("ca.der", &ca_der);
        let lists = files.put("list.crl", &list);

        let recorder = LabelRecorder::default();
        let material = metrics::with_local_recorder(&recorder, || {
            files
                .server(&ca.server(&["localhost"]))
                .require_client_certificates(portcullis::tls::ClientCas::new([bundle]))
                .with_crls(Revocation::builder(), [lists])
                .watch(portcullis::reload::WatchOptions::default())
        });
        material.unwrap();
        for (metric, label) in [
            (
                "portcullis_certificate_not_after_timestamp_seconds",
                "subject",
            ),
            ("portcullis_crl_entries", "issuer"),
        ] {
            assert!(
                recorder.has(metric, label, text),
                "{metric} of {text}: {recorder:?}"
            );
        }

        let [ca_der, leaf] = [ca_der, leaf].map(rustls::pki_types::CertificateDer::from);
        let path = CertPath::with_anchor_certificate(&leaf, &[], &ca_der).unwrap();
        let revocation = Revocation::from_bytes([&*list], Options::default()).unwrap();
        let finding = revocation.explain(&path, SystemTime::now()).remove(0);
        assert_eq!(finding.issuer, identity.issuer());
        assert_eq!(finding.decided_by[0].issuer, identity.issuer());
        assert_eq!(finding.serial, identity.serial());
        assert_eq!(identity.serial(), "00:9a:bc");
        let Verdict::Revoked { serial, .. } = &finding.verdict else {
            panic!("{:?}", finding.verdict);
        };
        assert_eq!(serial, identity.serial());
        let told = finding.verdict.to_string();
        assert!(
            told.starts_with("certificate 00:9a:bc was revoked on "),
            "{told}"
        );
    }
}

#[test]
fn a_name_that_cannot_be_read_whole_is_nobody() {
    use pki::extended::encode;

    let ca = Ca::new("Placeholder");
    let leaf = ca.leaf("node", |_| {});
    let common = |name: &[u8]| {
        let attribute = [encode(6, b"\x55\x04\x03"), encode(0x0c, name)].concat();
        encode(0x31, &encode(0x30, &attribute))
    };
    let subject = encode(0x30, &common(b"node"));
    for (inside, is_read) in [
        (vec![common(b"root")], true),
        (vec![common(b"a"), common(b"b")], true),
        // Something after the relative names, in their place, and beside an attribute's value.
        (vec![common(b"root"), vec![0x05, 0x00]], false),
        (vec![vec![0x31, 0x00]], false),
        (vec![common(b"root"), vec![0x31, 0x00]], false),
        (
            vec![b"\x31\x0c\x30\x0a\x06\x03\x55\x04\x03\x0c\x01a\x05\x00".to_vec()],
            false,
        ),
    ] {
        let name = encode(0x30, &inside.concat());
        let read = PeerIdentity::from_der(&ca.renaming(&leaf.der, &subject, &name));
        assert_eq!(read.is_ok(), is_read, "{name:x?}: {read:?}");
    }
}
