//! What of `examples/kubernetes` names something of another file or object: labels, ports, Secrets, names of
//! certificates. A cluster says nothing where one of them is wrong, and does nothing.

use std::collections::BTreeSet;

use clap::CommandFactory as _;
use serde_json::Value;

use crate::kubernetes::{FILES, NODE, documents};
use crate::node_cli;

/// By which Spegel's chart labels its pods.
const CHART: [(&str, &str); 1] = [("app.kubernetes.io/name", "spegel")];

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> impl Iterator<Item = &'a Value> {
    documents.iter().filter(move |it| it["kind"] == kind)
}

fn pairs(labels: &Value) -> BTreeSet<(String, String)> {
    let labels = labels.as_object().unwrap().iter();
    labels
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
        .collect()
}

fn texts(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap().iter();
    list.map(|it| it.as_str().unwrap()).collect()
}

/// The gate's container in a chart's values.
fn gate(values: &Value) -> &Value {
    let mut all = values["extraInitContainers"].as_array().unwrap().iter();
    all.find(|it| it["name"] == "gate").unwrap()
}

fn port<'a>(container: &'a Value, name: &str) -> &'a Value {
    let mut ports = container["ports"].as_array().unwrap().iter();
    ports.find(|it| it["name"] == name).unwrap()
}

#[test]
fn each_selector_is_of_labels_that_the_pods_have() {
    let chart: BTreeSet<_> = CHART
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    for (name, values) in FILES.into_iter().chain([NODE]) {
        let documents = documents(name);
        let template = documents
            .iter()
            .find(|it| !it["spec"]["template"].is_null());
        let labels = template.map(|it| pairs(&it["spec"]["template"]["metadata"]["labels"]));
        if let (Some(template), Some(labels)) = (template, &labels) {
            assert_eq!(
                pairs(&template["spec"]["selector"]["matchLabels"]),
                *labels,
                "{name}"
            );
        }
        let own = match (&labels, values) {
            (_, Some(_)) => &chart,
            (Some(labels), None) => labels,
            (None, None) => continue,
        };
        for service in of_kind(&documents, "Service") {
            assert_eq!(pairs(&service["spec"]["selector"]), *own, "{name}");
            let containers = &template.unwrap()["spec"]["template"]["spec"]["initContainers"];
            let gate = containers
                .as_array()
                .unwrap()
                .iter()
                .find(|it| it["name"] == "gate");
            for it in service["spec"]["ports"].as_array().unwrap() {
                let target = it["targetPort"].as_str().unwrap();
                assert!(
                    port(gate.unwrap(), target)["containerPort"].is_u64(),
                    "{name}"
                );
            }
        }
        for policy in of_kind(&documents, "NetworkPolicy") {
            let of_pods = pairs(&policy["spec"]["podSelector"]["matchLabels"]);
            // In front of Harbor it is about Harbor's own pods, to which the gate's come.
            let about_others = name == "harbor.yaml";
            assert_eq!(of_pods == *own, !about_others, "{name}");
            let from = policy["spec"]["ingress"].as_array().unwrap().iter();
            let from = from.flat_map(|rule| rule["from"].as_array().into_iter().flatten());
            for peer in from.filter(|peer| !peer["podSelector"].is_null()) {
                assert_eq!(pairs(&peer["podSelector"]["matchLabels"]), *own, "{name}");
            }
        }
    }
    let monitor = documents("podmonitor.yaml").remove(0);
    assert_eq!(pairs(&monitor["spec"]["selector"]["matchLabels"]), chart);
    for (_, values) in FILES {
        let Some(values) = values else { continue };
        let values = documents(values).remove(0);
        for endpoint in monitor["spec"]["podMetricsEndpoints"].as_array().unwrap() {
            let admin = port(gate(&values), endpoint["port"].as_str().unwrap());
            let flag = format!("--admin=0.0.0.0:{}", admin["containerPort"]);
            assert!(texts(&gate(&values)["args"]).contains(&&*flag), "{flag}");
            assert_eq!(endpoint["path"], "/metrics");
        }
    }
}

#[test]
fn the_certificates_are_those_that_the_gates_have_and_ask_for() {
    let issued = documents("cert-manager.yaml");
    let certificates: Vec<&Value> = of_kind(&issued, "Certificate").collect();
    let issuers: Vec<&Value> = of_kind(&issued, "Issuer").collect();
    let named = |all: &[&Value], name: &Value| {
        let found = all.iter().find(|it| it["metadata"]["name"] == *name);
        (*found.unwrap()).clone()
    };
    for certificate in &certificates {
        let signer = named(&issuers, &certificate["spec"]["issuerRef"]["name"]);
        if let Some(secret) = signer["spec"]["ca"]["secretName"].as_str() {
            let ca = certificates
                .iter()
                .find(|it| it["spec"]["secretName"] == secret);
            assert_eq!(ca.unwrap()["spec"]["isCA"], true);
        }
    }
    let own = named(&certificates, &"gate".into());
    let ca = named(&certificates, &"gate-ca".into());
    assert!(
        ["server auth", "client auth"]
            .iter()
            .all(|usage| texts(&own["spec"]["usages"]).contains(usage))
    );

    // The Secret of the certificate is mounted with its CA, and peers are known by both.
    let values = documents("spegel-both-ways.values.yaml").remove(0);
    let sources = values["extraVolumes"][0]["projected"]["sources"]
        .as_array()
        .unwrap();
    let secret = sources
        .iter()
        .find(|it| it["secret"]["name"] == own["spec"]["secretName"]);
    let keys = secret.unwrap()["secret"]["items"]
        .as_array()
        .unwrap()
        .iter();
    let keys: BTreeSet<&str> = keys.map(|it| it["key"].as_str().unwrap()).collect();
    assert_eq!(keys, BTreeSet::from(["ca.crt", "tls.crt", "tls.key"]));
    let map = documents("spegel-both-ways.yaml").remove(0);
    let config: toml::Table = map["data"]["gate.toml"].as_str().unwrap().parse().unwrap();
    let mut maps = config["identity"]["map"].as_array().unwrap().iter();
    let peers = maps
        .find_map(|it| it["when"].get("dns").map(|_| &it["when"]))
        .unwrap();
    let name = peers["dns"].as_str().unwrap();
    assert!(texts(&own["spec"]["dnsNames"]).contains(&name), "{name}");
    assert_eq!(config["program"]["egress"]["name"].as_str(), Some(name));
    let anchor = format!("CN={}", ca["spec"]["commonName"].as_str().unwrap());
    assert_eq!(peers["anchor"].as_str(), Some(&*anchor));

    // Of a Pod Certificate the CAs are those of its own signer.
    let pod = documents("pod-certificate.yaml").remove(2);
    let sources = pod["spec"]["volumes"][0]["projected"]["sources"]
        .as_array()
        .unwrap();
    let signers = ["podCertificate", "clusterTrustBundle"].map(|kind| {
        let source = sources.iter().find(|it| !it[kind].is_null()).unwrap();
        source[kind]["signerName"].as_str().unwrap()
    });
    assert_eq!(signers[0], signers[1]);
}

#[test]
fn a_pod_has_longer_to_end_than_the_program_takes_to_drain() {
    let command = node_cli::Arguments::command();
    let drain = command
        .get_arguments()
        .find(|flag| flag.get_id() == "drain");
    let drain = drain.unwrap().get_default_values()[0].to_str().unwrap();
    let drain: u64 = drain.strip_suffix('s').unwrap().parse().unwrap();
    let node = documents(NODE.0);
    let set = of_kind(&node, "DaemonSet").next().unwrap();
    let grace = set["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64();
    assert!(grace.unwrap() > drain);
}

#[test]
fn the_patches_of_the_chart_are_to_the_ports_of_the_gate_before_it() {
    let values = documents("spegel-both-ways.values.yaml").remove(0);
    let gate = gate(&values);
    let admin = port(gate, "gate-admin")["containerPort"].as_u64().unwrap();
    let loopback = documents("spegel-loopback.yaml").remove(0);
    let patches: Vec<&str> = { loopback["patches"].as_array().unwrap().iter() }
        .map(|it| it["patch"].as_str().unwrap())
        .collect();
    let probes: Value = serde_norway::from_str(patches[1]).unwrap();
    let registry = &probes["spec"]["template"]["spec"]["containers"][0];
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert_eq!(registry[probe]["httpGet"]["port"], admin, "{probe}");
    }
    let moved: Value = serde_norway::from_str(patches[2]).unwrap();
    let moved = moved[0]["value"].as_str().unwrap();
    let upstream = moved.replace("--registry-addr=", "--upstream=http://");
    assert!(texts(&gate["args"]).contains(&&*upstream), "{upstream}");
}
