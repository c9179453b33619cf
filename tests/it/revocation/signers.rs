//! CRLs that another key than the one on the client's path signs, in the same name (RFC 5280 §6.3.3 (f)).
#![cfg(all(feature = "crl", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::pki;

use std::time::{Duration, SystemTime};

use pki::Ca;
use pki::extended::encode;
use portcullis::crl::{CertPath, Options, Revocation, Verdict};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    GeneralSubtree, IsCa, KeyUsagePurpose, NameConstraints, SanType,
};

/// A root, the CA of a node under it, and another key of the same name that signs its CRLs, certified
/// by way of two CAs of which neither is on the node's path.
struct World {
    root: Ca,
    nodes: Ca,
    upper: Ca,
    lower: Ca,
    signer: Ca,
}

/// The serial numbers of these.
const UPPER: u64 = 11;
const LOWER: u64 = 12;
const SIGNER: u64 = 13;

fn nothing(_: &mut CertificateParams) {}

impl World {
    fn new() -> Self {
        Self::with(nothing, nothing, nothing, nothing)
    }

    /// The certificates of the root, the two CAs and the signer so changed.
    fn with(
        root: impl FnOnce(&mut CertificateParams),
        upper: impl FnOnce(&mut CertificateParams),
        lower: impl FnOnce(&mut CertificateParams),
        signer: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let root = Ca::with("Root", root);
        let nodes = root.sub("Nodes", |params| params.serial_number = Some(10_u64.into()));
        let upper = root.sub("Upper", |params| {
            params.serial_number = Some(UPPER.into());
            upper(params);
        });
        let lower = upper.sub("Lower", |params| {
            params.serial_number = Some(LOWER.into());
            lower(params);
        });
        let signer = lower.sub("Nodes", |params| {
            params.serial_number = Some(SIGNER.into());
            params.is_ca = IsCa::NoCa;
            params.key_usages = vec![KeyUsagePurpose::CrlSign];
            signer(params);
        });
        Self {
            root,
            nodes,
            upper,
            lower,
            signer,
        }
    }

    fn path(&self) -> CertPath {
        let leaf = self.nodes.client("node");
        let anchor = self.root.roots().roots.remove(0);
        CertPath::new(&leaf.der, std::slice::from_ref(&self.nodes.der), &anchor).unwrap()
    }

    fn revocation(&self, lists: &[Vec<u8>], options: Options) -> Revocation {
        let known = [&self.root, &self.upper, &self.lower, &self.signer];
        Revocation::builder()
            .with_options(options)
            .with_authorities(known.map(|ca| ca.der.clone()))
            .from_bytes(lists.iter().map(Vec::as_slice))
            .unwrap()
    }

    /// The lists of the root, the upper CA, the lower one, and the signer.
    fn lists(&self, of_root: &[u64], of_upper: &[u64], of_lower: &[u64]) -> Vec<Vec<u8>> {
        let signer = self.signer.crl(4, &[]);
        let lists = [
            self.root.crl(1, of_root),
            self.upper.crl(2, of_upper),
            self.lower.crl(3, of_lower),
            signer,
        ];
        lists.iter().map(|list| list.der().to_vec()).collect()
    }

    fn examine(&self, lists: &[Vec<u8>], options: Options) -> Verdict {
        let revocation = self.revocation(lists, options);
        revocation.examine(&self.path(), SystemTime::now())
    }

    /// Whether the signer's list counts when none of those above it is revoked.
    fn counts(&self) -> bool {
        self.examine(&self.lists(&[], &[], &[]), Options::default()) == Verdict::Good
    }
}

fn said(verdict: &Verdict) -> String {
    format!("{}: {verdict}", verdict.label())
}

#[test]
fn a_list_counts_whose_signer_is_certified_by_cas_that_are_not_on_the_path() {
    assert!(World::new().counts());
}

#[test]
fn a_signer_whose_chain_breaks_a_constraint_of_a_ca_signs_nothing() {
    let length = |longest| {
        move |params: &mut CertificateParams| {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(longest));
        }
    };
    assert!(World::with(nothing, length(1), length(0), nothing).counts());
    assert!(!World::with(nothing, length(0), nothing, nothing).counts());

    let directory = |name: &str| {
        let mut directory = DistinguishedName::new();
        directory.push(DnType::CommonName, name);
        GeneralSubtree::DirectoryName(directory)
    };
    let names = |permitted: Vec<GeneralSubtree>, excluded: Vec<GeneralSubtree>| {
        move |params: &mut CertificateParams| {
            params.name_constraints = Some(NameConstraints {
                permitted_subtrees: permitted,
                excluded_subtrees: excluded,
            });
        }
    };
    let dns = || GeneralSubtree::DnsName("example.org".to_owned());
    for (constraints, counts) in [
        (names(vec![directory("Nodes")], vec![]), true),
        (
            names(vec![directory("NODES"), directory("Others")], vec![]),
            true,
        ),
        (names(vec![directory("Others")], vec![]), false),
        (names(vec![], vec![directory("Others")]), true),
        (names(vec![], vec![directory("Nodes")]), false),
        // The signer has no such name.
        (names(vec![dns()], vec![]), true),
    ] {
        assert_eq!(
            World::with(nothing, nothing, constraints, nothing).counts(),
            counts
        );
    }
    // Those of the CA above bind the CA between too, and those of the anchor all.
    let world = World::with(
        nothing,
        names(vec![directory("Nodes")], vec![]),
        nothing,
        nothing,
    );
    assert!(!world.counts());
    let excluded = names(vec![], vec![directory("Lower")]);
    assert!(!World::with(excluded, nothing, nothing, nothing).counts());
    // A form that is not processed, of which there is a name.
    let with_dns_name = |params: &mut CertificateParams| {
        let name = "crl.example.org".try_into().unwrap();
        params.subject_alt_names = vec![SanType::DnsName(name)];
    };
    assert!(World::with(nothing, nothing, nothing, with_dns_name).counts());
    assert!(!World::with(nothing, nothing, names(vec![dns()], vec![]), with_dns_name).counts());
}

/// A client's certificate says nothing of what its key may be used for, or that it may sign certificates: it is
/// no CA's all the same.
#[test]
fn a_signer_that_what_is_no_ca_certified_signs_nothing() {
    for usages in [
        vec![],
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign],
    ] {
        let no_ca = |params: &mut CertificateParams| {
            params.is_ca = IsCa::NoCa;
            params.key_usages = usages;
        };
        assert!(!World::with(nothing, nothing, no_ca, nothing).counts());
    }
    let may_not = |params: &mut CertificateParams| {
        params.key_usages = vec![KeyUsagePurpose::CrlSign];
    };
    assert!(!World::with(nothing, nothing, may_not, nothing).counts());
}

#[test]
fn a_signer_whose_chain_has_an_unknown_critical_extension_signs_nothing() {
    let critical = |critical| {
        move |params: &mut CertificateParams| {
            let mut unknown = CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0]);
            unknown.set_criticality(critical);
            params.custom_extensions = vec![unknown];
        }
    };
    assert!(World::with(nothing, critical(false), critical(false), critical(false)).counts());
    assert!(!World::with(nothing, critical(true), nothing, nothing).counts());
    assert!(!World::with(nothing, nothing, critical(true), nothing).counts());
    assert!(!World::with(nothing, nothing, nothing, critical(true)).counts());
}

#[test]
fn a_signer_whose_chain_is_not_valid_now_signs_nothing() {
    let day = time::Duration::DAY;
    let over = |params: &mut CertificateParams| {
        params.not_after = time::OffsetDateTime::now_utc() - day;
    };
    let to_come = |params: &mut CertificateParams| {
        params.not_before = time::OffsetDateTime::now_utc() + day;
    };
    assert!(!World::with(nothing, over, nothing, nothing).counts());
    assert!(!World::with(nothing, nothing, nothing, over).counts());
    assert!(!World::with(nothing, nothing, to_come, nothing).counts());
    assert!(!World::with(nothing, nothing, nothing, to_come).counts());
}

#[test]
fn a_signer_beneath_more_than_six_cas_signs_nothing() {
    let root = Ca::new("Root");
    let nodes = root.sub("Nodes", nothing);
    let node = nodes.client("node");
    let anchor = root.roots().roots.remove(0);
    let path = CertPath::new(&node.der, std::slice::from_ref(&nodes.der), &anchor).unwrap();
    let options = Options::default()
        .with_leaf_only(true)
        .with_unknown_allowed(true);
    for (depth, counts) in [(1, true), (6, true), (7, false)] {
        let mut cas = vec![root.sub("CA 1", nothing)];
        for number in 2..=depth {
            let below = cas[number - 2].sub(&format!("CA {number}"), nothing);
            cas.push(below);
        }
        let signer = signer_of(&cas[depth - 1], "Nodes");
        let authorities = cas.iter().chain([&root, &signer]);
        let revocation = Revocation::builder()
            .with_options(options)
            .with_authorities(authorities.map(|ca| ca.der.clone()))
            .from_bytes([&*list_of(&signer)])
            .unwrap();
        let verdict = revocation.examine(&path, SystemTime::now());
        assert_eq!(verdict == Verdict::Good, counts, "{depth}: {verdict}");
    }
}

/// RFC 5280 §6.1.3 (a) (4): a chain is one of names too, and not of signatures alone.
#[test]
fn a_signer_is_beneath_the_cas_that_its_issuers_name_leads_to() {
    let root = Ca::new("Root");
    let nodes = root.sub("Nodes", nothing);
    let node = nodes.client("node");
    let anchor = root.roots().roots.remove(0);
    let path = CertPath::new(&node.der, std::slice::from_ref(&nodes.der), &anchor).unwrap();
    let lower = root.sub("Lower", nothing);
    // The same key under another name.
    let other = {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Other");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.signed_by(lower.issuer.key(), &root.issuer).unwrap();
        certificate.der().clone()
    };
    // Another key of the root, which the first has signed.
    let renewed = root.sub("Root", nothing);
    let options = Options::default()
        .with_leaf_only(true)
        .with_unknown_allowed(true);
    for (by, certificate, counts) in [
        (&lower, &lower.der, true),
        (&lower, &other, false),
        (&renewed, &renewed.der, true),
    ] {
        let signer = signer_of(by, "Nodes");
        let authorities = [&root.der, certificate, &signer.der].map(Clone::clone);
        let revocation = Revocation::builder()
            .with_options(options)
            .with_authorities(authorities)
            .from_bytes([&*list_of(&signer)])
            .unwrap();
        let verdict = revocation.examine(&path, SystemTime::now());
        assert_eq!(verdict == Verdict::Good, counts, "{verdict}");
    }
}

#[test]
fn a_revoked_signer_or_ca_above_it_signs_nothing() {
    let world = World::new();
    for (of_root, of_upper, of_lower) in [
        (&[UPPER][..], &[][..], &[][..]),
        (&[], &[LOWER], &[]),
        (&[], &[], &[SIGNER]),
    ] {
        let lists = world.lists(of_root, of_upper, of_lower);
        let verdict = world.examine(&lists, Options::default());
        assert!(
            said(&verdict).contains("no CRL for it is signed by its issuer: the signer is known"),
            "{verdict}"
        );
        assert_eq!(verdict.label(), "unknown");
    }
    // Of the CAs above it nothing is asked where only the client's own certificate is.
    let leaf = Options::default().with_leaf_only(true);
    let lists = world.lists(&[UPPER], &[], &[]);
    assert_eq!(world.examine(&lists, leaf), Verdict::Good);
    let lists = world.lists(&[], &[], &[SIGNER]);
    assert_eq!(world.examine(&lists, leaf).label(), "unknown");
}

#[test]
fn a_signer_of_unknown_status_counts_only_if_the_options_allow_that() {
    let world = World::new();
    let lists = world.lists(&[], &[], &[]);
    let lenient = Options::default().with_unknown_allowed(true);
    for missing in [1, 2] {
        let mut some = lists.clone();
        some.remove(missing);
        assert_eq!(world.examine(&some, Options::default()).label(), "unknown");
        assert_eq!(world.examine(&some, lenient), Verdict::Good);
    }
}

#[test]
fn a_verdict_by_such_a_list_ends_with_those_about_its_signer() {
    let world = World::new();
    let short = world.lower.crl_with(3, &[], |list| {
        list.next_update = time::OffsetDateTime::now_utc() + time::Duration::HOUR;
    });
    let mut lists = world.lists(&[], &[], &[]);
    lists[2] = short.der().to_vec();
    let revocation = world.revocation(&lists, Options::default());
    for (minutes, says) in [(59, "good"), (61, "unknown")] {
        let at = SystemTime::now() + Duration::from_secs(minutes * 60);
        assert_eq!(revocation.examine(&world.path(), at).label(), says);
    }
}

#[test]
fn a_new_key_of_the_root_tells_of_its_own_certificate_by_its_own_list() {
    let root = Ca::new("Root");
    let renewed = root.sub("Root", |params| params.serial_number = Some(2_u64.into()));
    let leaf = root.client("node");
    let path = CertPath::new(&leaf.der, &[], &root.roots().roots.remove(0)).unwrap();
    let decided_by = |lists: &[&rcgen::CertificateRevocationList]| {
        let revocation = Revocation::builder()
            .with_authorities([root.der.clone(), renewed.der.clone()])
            .from_bytes(lists.iter().map(|list| list.der().as_ref()))
            .unwrap();
        let finding = revocation.explain(&path, SystemTime::now()).remove(0);
        let numbers = finding
            .decided_by
            .into_iter()
            .filter_map(|list| list.number);
        (finding.verdict, numbers.collect::<Vec<_>>())
    };
    let (new, old, revoking) = (renewed.crl(5, &[]), root.crl(4, &[]), root.crl(4, &[2]));
    assert_eq!(decided_by(&[&new]), (Verdict::Good, vec!["05".to_owned()]));
    let both = vec!["05".to_owned(), "04".to_owned()];
    assert_eq!(decided_by(&[&new, &old]), (Verdict::Good, both));
    // The old key has revoked the new one, which so says nothing.
    assert_eq!(
        decided_by(&[&new, &revoking]),
        (Verdict::Good, vec!["04".to_owned()])
    );
}

/// A node whose lists are signed by other keys than its CA's, and of which nothing but its own status is asked.
fn node_verdict(root: &Ca, authorities: &[&Ca], lists: &[Vec<u8>]) -> Verdict {
    let nodes = root.sub("Nodes", nothing);
    let node = nodes.client("node");
    let anchor = root.roots().roots.remove(0);
    let path = CertPath::new(&node.der, std::slice::from_ref(&nodes.der), &anchor).unwrap();
    let revocation = Revocation::builder()
        .with_options(Options::default().with_leaf_only(true))
        .with_authorities(authorities.iter().map(|ca| ca.der.clone()))
        .from_bytes(lists.iter().map(Vec::as_slice))
        .unwrap();
    revocation.examine(&path, SystemTime::now())
}

/// A signer under this CA, of CRLs in this name.
fn signer_of(ca: &Ca, name: &str) -> Ca {
    ca.sub(name, |params| {
        params.is_ca = IsCa::NoCa;
        params.key_usages = vec![KeyUsagePurpose::CrlSign];
    })
}

fn list_of(ca: &Ca) -> Vec<u8> {
    ca.crl(1, &[]).der().to_vec()
}

#[test]
fn a_signer_is_not_proven_good_by_a_list_of_one_that_does_not_count() {
    let root = Ca::new("Root");
    let stranger = Ca::new("Root");
    let signer = signer_of(&root, "Nodes");
    for (issuer, says) in [(&root, "good"), (&stranger, "unknown")] {
        let lists = [list_of(&signer), list_of(issuer)];
        let verdict = node_verdict(&root, &[&signer, &root, &stranger], &lists);
        assert_eq!(verdict.label(), says, "{verdict}");
    }
}

#[test]
fn no_more_than_three_signers_are_asked_after_because_of_one_another() {
    let root = Ca::new("Root");
    for (nested, says) in [(3, "good"), (4, "unknown")] {
        // The list of each signer's CA is signed by the next one, that of the last one's CA by itself.
        let cas: Vec<Ca> = (0..nested)
            .map(|at| root.sub(&format!("CA {at}"), nothing))
            .collect();
        let names = (0..nested).map(|at| match at {
            0 => "Nodes".to_owned(),
            _ => format!("CA {}", at - 1),
        });
        let signers = cas.iter().zip(names).map(|(ca, name)| signer_of(ca, &name));
        let known: Vec<Ca> = signers.collect();
        let last = cas.last().unwrap();
        let lists = known.iter().chain([last]).map(list_of);
        let lists: Vec<_> = lists.collect();
        let authorities: Vec<_> = known.iter().chain(&cas).collect();
        let verdict = node_verdict(&root, &authorities, &lists);
        assert_eq!(verdict.label(), says, "{nested}: {verdict}");
    }
}

#[test]
fn what_was_found_of_one_signer_is_not_taken_for_another() {
    let only_reasons = |flags: &[u8]| {
        let scope = encode(0x30, &encode(0x83, flags));
        let id = [0x06, 0x03, 0x55, 0x1d, 0x1c, 0x01, 0x01, 0xff];
        [&id[..], &encode(0x04, &scope)].concat()
    };
    let compromise = only_reasons(&[5, 0b0110_0000]);
    let others = only_reasons(&[7, 0b0001_1111, 0b1000_0000]);
    let root = Ca::new("Root");
    let stranger = Ca::new("Other root");
    let [first, second] = [1, 2].map(|_| signer_of(&root, "Nodes"));
    let foreign = signer_of(&stranger, "Nodes");
    let of = |ca: &Ca, scope: &[u8]| ca.extended(&ca.crl(1, &[]), scope);
    for (by, says) in [(&second, "good"), (&foreign, "unknown")] {
        for (own, other) in [(&compromise, &others), (&others, &compromise)] {
            let lists = [of(&first, own), of(by, other), list_of(&root)];
            let verdict = node_verdict(&root, &[&first, by, &root, &stranger], &lists);
            assert_eq!(verdict.label(), says, "{verdict}");
        }
    }
}
