//! What operators paste from `examples/kubernetes`: each file is read whole, and every flag, path, port and key that
//! it names is held against the program and the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use clap::Parser;
use portcullis::Guard;
use portcullis::config::Config;
use portcullis::policy::DigestOracle;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::Arguments;
use crate::install_hosts::InstallHosts;
use crate::node_cli;
use crate::pki::{Ca, Files, Leaf};
use crate::setup::Setup;
use crate::support::CI;

const PAGE: &str = include_str!("../../docs/kubernetes.md");

/// Makes the image that the files name.
const IMAGE: &str = include_str!("../../scripts/image.sh");

/// The files, each with the chart's values that it is for, if it is for any.
pub(crate) const FILES: [(&str, Option<&str>); 7] = [
    (
        "spegel-front-door.yaml",
        Some("spegel-front-door.values.yaml"),
    ),
    (
        "spegel-both-ways.yaml",
        Some("spegel-both-ways.values.yaml"),
    ),
    ("spegel-token.yaml", Some("spegel-token.values.yaml")),
    ("distribution.yaml", None),
    ("zot.yaml", None),
    ("harbor.yaml", None),
    ("pod-certificate.yaml", None),
];

/// The file of the `node` example.
pub(crate) const NODE: (&str, Option<&str>) = ("node.yaml", None);

/// Those without a configuration.
const OTHERS: [&str; 4] = [
    "cert-manager.yaml",
    "podmonitor.yaml",
    "spegel-cluster-ip.yaml",
    "spegel-loopback.yaml",
];

/// The documents of a file.
pub(crate) fn documents(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/kubernetes");
    let text = fs::read_to_string(path.join(name)).unwrap();
    let documents = serde_norway::Deserializer::from_str(&text);
    let documents = documents.map(|document| {
        Value::deserialize(document).unwrap_or_else(|error| panic!("{name}: {error}"))
    });
    documents.collect()
}

/// What Kubernetes has of a container, as far as the files use it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Container {
    name: String,
    image: String,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<Variable>,
    #[serde(default)]
    ports: Vec<Port>,
    restart_policy: Option<String>,
    startup_probe: Option<Probe>,
    readiness_probe: Option<Probe>,
    liveness_probe: Option<Probe>,
    security_context: Option<SecurityContext>,
    #[serde(default)]
    volume_mounts: Vec<Mount>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SecurityContext {
    #[serde(default)]
    allow_privilege_escalation: Option<bool>,
    #[serde(default)]
    read_only_root_filesystem: bool,
    #[serde(default)]
    run_as_non_root: bool,
    run_as_user: u32,
    run_as_group: Option<u32>,
    capabilities: Capabilities,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Capabilities {
    drop: Vec<String>,
    #[serde(default)]
    add: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Variable {
    name: String,
    value: Option<String>,
    value_from: Option<VariableSource>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
enum VariableSource {
    #[serde(rename_all = "camelCase")]
    FieldRef {
        field_path: String,
    },
    SecretKeyRef {
        name: String,
        key: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "Kubernetes' names")]
struct Port {
    name: String,
    container_port: u16,
    host_port: Option<u16>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Probe {
    http_get: HttpGet,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpGet {
    path: String,
    port: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "Kubernetes' names")]
struct Mount {
    name: String,
    mount_path: String,
    #[serde(default)]
    read_only: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Volume {
    name: String,
    projected: Option<Projected>,
    config_map: Option<Named>,
    secret: Option<SecretVolume>,
    host_path: Option<Value>,
    persistent_volume_claim: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Projected {
    sources: Vec<Source>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
enum Source {
    ConfigMap(Named),
    Secret(Named),
    #[serde(rename_all = "camelCase")]
    PodCertificate {
        signer_name: String,
        key_type: String,
        credential_bundle_path: String,
    },
    #[serde(rename_all = "camelCase")]
    ClusterTrustBundle {
        signer_name: String,
        label_selector: Value,
        path: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SecretVolume {
    secret_name: String,
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    key: String,
    path: String,
}

#[derive(Parser)]
struct Ctl {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    InstallHosts(Box<InstallHosts>),
}

/// The containers and volumes of a pod.
struct Pod {
    containers: Vec<Container>,
    volumes: Vec<Volume>,
}

impl Pod {
    /// Of the documents and, for a chart, of its values.
    fn of(documents: &[Value], values: Option<&Value>) -> Self {
        if let Some(values) = values {
            return Self {
                containers: listed(&values["extraInitContainers"]),
                volumes: listed(&values["extraVolumes"]),
            };
        }
        let spec = documents.iter().find_map(|it| match it["kind"].as_str()? {
            "Pod" => Some(&it["spec"]),
            "DaemonSet" | "Deployment" => Some(&it["spec"]["template"]["spec"]),
            _ => None,
        });
        let spec = spec.unwrap();
        let mut containers = listed(&spec["initContainers"]);
        containers.extend(listed::<Container>(&spec["containers"]));
        Self {
            containers,
            volumes: listed(&spec["volumes"]),
        }
    }

    fn gate(&self) -> &Container {
        let mut gates = self.containers.iter().filter(|it| it.name == "gate");
        let gate = gates.next().unwrap();
        assert!(gates.next().is_none());
        gate
    }
}

fn listed<T: for<'de> Deserialize<'de>>(value: &Value) -> Vec<T> {
    if value.is_null() {
        return Vec::new();
    }
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value:#}"))
}

/// The files in a volume: their paths, with the text where the file here has it.
fn contents(volume: &Volume, documents: &[Value]) -> BTreeMap<String, Option<String>> {
    let text = |name: &str, key: &str| {
        let map = documents
            .iter()
            .find(|it| it["kind"] == "ConfigMap" && it["metadata"]["name"] == name)?;
        let text = map["data"][key].as_str();
        Some(
            text.unwrap_or_else(|| panic!("{name} has no {key}"))
                .to_owned(),
        )
    };
    let of_map = |map: &Named| -> Vec<(String, Option<String>)> {
        if !map.items.is_empty() {
            let items = map.items.iter();
            return items
                .map(|it| (it.path.clone(), text(&map.name, &it.key)))
                .collect();
        }
        let all = documents
            .iter()
            .find(|it| it["kind"] == "ConfigMap" && it["metadata"]["name"] == map.name.as_str());
        let all = all.unwrap_or_else(|| panic!("there is no ConfigMap {}", map.name));
        let all = all["data"].as_object().unwrap().iter();
        all.map(|(key, text)| (key.clone(), text.as_str().map(str::to_owned)))
            .collect()
    };
    if let Some(map) = &volume.config_map {
        return of_map(map).into_iter().collect();
    }
    let sources = volume.projected.iter().flat_map(|it| &it.sources);
    sources
        .flat_map(|source| match source {
            Source::ConfigMap(map) => of_map(map),
            Source::Secret(secret) => secret
                .items
                .iter()
                .map(|it| (it.path.clone(), None))
                .collect(),
            Source::PodCertificate {
                credential_bundle_path,
                ..
            } => vec![(credential_bundle_path.clone(), None)],
            Source::ClusterTrustBundle { path, .. } => vec![(path.clone(), None)],
        })
        .collect()
}

/// What the cluster would put there.
struct Cluster {
    /// By the first part of the path.
    cas: BTreeMap<&'static str, Ca>,
    own: Leaf,
}

impl Cluster {
    fn new() -> Self {
        let cas = [
            ("clients", Ca::new("kubernetes")),
            ("peers", Ca::new("spegel peers")),
        ];
        let cas = BTreeMap::from(cas);
        let own = cas["peers"].server(&["gate.spegel.svc"]);
        Self { cas, own }
    }

    fn text(&self, path: &str, page: &str) -> String {
        let (folder, file) = path.split_once('/').unwrap();
        let ca = |folder| {
            if page.contains("CN=pods") {
                Ca::new("pods").pem
            } else {
                self.cas[folder].pem.clone()
            }
        };
        match file.rsplit_once('.').map_or(file, |(_, kind)| kind) {
            "crt" if folder == "tls" => self.own.pem.clone(),
            "key" => self.own.key_pem.clone(),
            "pem" if folder == "tls" => format!("{}{}", self.own.key_pem, self.own.pem),
            "crt" | "pem" => ca(folder),
            "crl" => self.cas[folder].crl(1, &[]).pem().unwrap(),
            "username" => "ci".to_owned(),
            "password" => CI.to_owned(),
            "authorization" => "Basic cm9ib3Q6c2VjcmV0".to_owned(),
            _ => panic!("what is {path}?"),
        }
    }
}

/// What a container finds in the folder of its configuration, as the cluster would put it there, and the text of the
/// configuration.
fn mounted(
    name: &str,
    pod: &Pod,
    container: &Container,
    (folder, file): (&str, &str),
    documents: &[Value],
) -> (Files, String) {
    let mut mounts = container.volume_mounts.iter();
    let mount = mounts.find(|it| it.mount_path == folder).unwrap();
    assert!(mount.read_only, "{name}");
    let volume = pod.volumes.iter().find(|it| it.name == mount.name).unwrap();
    let (cluster, files) = (Cluster::new(), Files::new());
    let mut config = None;
    for (path, text) in contents(volume, documents) {
        if path == file {
            config = text;
            continue;
        }
        let text = text.unwrap_or_else(|| cluster.text(&path, &format!("{documents:?}")));
        let path = files.path(&path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    (files, config.unwrap())
}

#[tokio::test]
async fn each_gate_starts_with_the_flags_files_and_ports_that_it_is_given() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    for (name, values) in FILES {
        let documents = documents(name);
        let values = values.map(|values| self::documents(values).remove(0));
        let pod = Pod::of(&documents, values.as_ref());
        let gate = pod.gate();
        assert!(gate.command.is_empty(), "{name}");

        let (files, mut config) = mounted(name, &pod, gate, ("/etc/gate", "gate.toml"), &documents);
        for variable in gate.env.iter().filter(|it| !it.name.ends_with("_IP")) {
            let named = format!("env = {:?}", variable.name);
            assert!(config.contains(&named), "{name}: {named}");
            files.put("token", CI);
            config = config.replace(&named, "file = \"token\"");
            assert!(
                variable.value.is_none(),
                "{name}: a secret is not written here"
            );
        }
        files.put("gate.toml", &config);

        let folder = files.path("");
        let folder = folder.to_str().unwrap().trim_end_matches('/');
        let variables: BTreeSet<&str> = gate.env.iter().map(|it| &*it.name).collect();
        let arguments = gate.args.iter().map(|argument| {
            for (_, rest) in argument
                .match_indices("$(")
                .map(|(at, _)| argument.split_at(at + 2))
            {
                let (variable, _) = rest.split_once(')').unwrap();
                assert!(variables.contains(variable), "{name}: {variable}");
            }
            argument
                .replace("$(POD_IP)", "10.1.2.3")
                .replace("/etc/gate", folder)
        });
        let arguments = std::iter::once("gate".to_owned()).chain(arguments);
        let arguments = Arguments::try_parse_from(arguments);
        let arguments = arguments.unwrap_or_else(|error| panic!("{name}: {error}"));
        let setup = Setup::read(&arguments).unwrap_or_else(|error| panic!("{name}: {error}"));
        let report = setup.report.to_string();
        assert!(report.contains("policy of 1 rule"), "{name}: {report}");
        let clear = report.contains("tokens are sent in the clear");
        assert_eq!(clear, name == "spegel-token.yaml", "{name}: {report}");
        assert!(
            !report.contains("the TLS server asks for none"),
            "{name}: {report}"
        );

        let ports = [arguments.listen, arguments.process.admin.unwrap()];
        check_ports(name, gate, ports, &report);
        check_hardening(name, gate);
        check_upstream(name, &documents, arguments.upstream.as_deref().unwrap());
    }
}

/// In the place of containerd.
#[derive(Debug)]
struct Unasked;

impl DigestOracle for Unasked {
    fn leads_to(&self, _: Option<&str>, _: &str, _: &str) -> Option<bool> {
        None
    }
}

#[tokio::test]
async fn each_node_starts_with_the_flags_files_and_ports_that_it_is_given() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (name, _) = NODE;
    let documents = documents(name);
    let pod = Pod::of(&documents, None);
    let [node] = &pod.containers[..] else {
        panic!("{} containers", pod.containers.len());
    };
    let (files, config) = mounted(name, &pod, node, ("/etc/node", "node.toml"), &documents);
    files.put("node.toml", &config);
    let folder = files.path("");
    let folder = folder.to_str().unwrap().trim_end_matches('/');
    let arguments = node.args.iter().map(|it| it.replace("/etc/node", folder));
    let arguments = std::iter::once("node".to_owned()).chain(arguments);
    let arguments = node_cli::Arguments::try_parse_from(arguments);
    let arguments = arguments.unwrap_or_else(|error| panic!("{error}"));
    let config = Config::load(&arguments.config).unwrap();
    let guard = Guard::builder().digest_oracle(Unasked).configure(&config);
    let guard = guard.unwrap().build();
    arguments.check_clear(guard.acceptor().is_some()).unwrap();
    let report = guard.report_on(arguments.listen).to_string();
    assert!(report.contains("policy of 1 rule"), "{report}");
    for open in ["any repository gives it", "the TLS server asks for none"] {
        assert!(!report.contains(open), "{report}");
    }
    check_ports(
        name,
        node,
        [arguments.listen, arguments.process.admin.unwrap()],
        &report,
    );
    check_hardening(name, node);

    // The folder of the socket is the node's, and the program is in the group that may open it.
    let folder = arguments.containerd.parent().unwrap();
    let mut mounts = node.volume_mounts.iter();
    let mount = mounts.find(|it| Path::new(&it.mount_path) == folder);
    let mount = mount.unwrap();
    assert!(mount.read_only);
    let mut volumes = pod.volumes.iter();
    let volume = volumes.find(|it| it.name == mount.name).unwrap();
    let path = volume.host_path.as_ref().unwrap()["path"].as_str();
    assert_eq!(path.map(Path::new), Some(folder));
    let context = node.security_context.as_ref().unwrap();
    assert_eq!(context.run_as_group, Some(0));
}

/// The image has its programs in its root, which is no folder in which a command is looked for.
#[test]
fn each_command_is_a_program_of_the_image() {
    let programs = IMAGE
        .lines()
        .find_map(|line| line.strip_prefix("for program in ")?.strip_suffix("; do"));
    let programs: Vec<&str> = programs.unwrap().split(' ').collect();
    let mut commands = BTreeSet::new();
    for (name, values) in FILES.into_iter().chain([NODE]) {
        let documents = documents(name);
        let values = values.map(|values| self::documents(values).remove(0));
        for container in Pod::of(&documents, values.as_ref()).containers {
            let own = container.image.starts_with("registry.example.org/gate:");
            for program in container.command.iter().filter(|_| own) {
                let known = program.strip_prefix('/').map(|it| programs.contains(&it));
                assert_eq!(known, Some(true), "{name}: {program}");
                commands.insert(program.clone());
            }
        }
    }
    assert_eq!(Vec::from_iter(commands), ["/node", "/portcullisctl"]);
}

/// The container's ports are those on which it listens, and each probe is at one that answers it.
fn check_ports(name: &str, gate: &Container, [listen, admin]: [SocketAddr; 2], report: &str) {
    let admin = admin.port();
    let probes = report.lines().find_map(|line| {
        let line = line.strip_prefix("left open: ")?;
        let (address, _) = line.split_once(" answers /livez, /readyz")?;
        address.rsplit(':').next()?.parse::<u16>().ok()
    });
    let own: BTreeSet<u16> = [listen.port(), admin].into_iter().chain(probes).collect();
    let named: BTreeSet<u16> = gate.ports.iter().map(|it| it.container_port).collect();
    assert_eq!(named, own, "{name}");
    let all = [
        &gate.startup_probe,
        &gate.readiness_probe,
        &gate.liveness_probe,
    ];
    let all: Vec<&HttpGet> = all.into_iter().flatten().map(|it| &it.http_get).collect();
    assert!(!all.is_empty(), "{name}: there is no probe");
    for HttpGet { path, port } in all {
        let at = gate.ports.iter().find(|it| it.name == *port).unwrap();
        assert!(
            [Some(admin), probes].contains(&Some(at.container_port)),
            "{name}"
        );
        assert!(["/livez", "/readyz"].contains(&&**path), "{name}: {path}");
    }
    let sidecar = gate.startup_probe.is_some();
    assert_eq!(
        gate.restart_policy.as_deref(),
        sidecar.then_some("Always"),
        "{name}"
    );
    if let Some(probe) = &gate.startup_probe {
        // The registry behind it starts later.
        assert_eq!(probe.http_get.path, "/livez", "{name}");
    }
    for port in &gate.ports {
        let exposed = port.host_port.is_some();
        assert!(!exposed || port.container_port == listen.port(), "{name}");
    }
}

fn check_hardening(name: &str, gate: &Container) {
    assert!(
        gate.image.starts_with("registry.example.org/gate:"),
        "{name}"
    );
    let context = gate.security_context.as_ref().unwrap();
    assert_eq!(context.allow_privilege_escalation, Some(false), "{name}");
    assert!(
        context.read_only_root_filesystem && context.run_as_non_root,
        "{name}"
    );
    assert_eq!(context.capabilities.drop, ["ALL"], "{name}");
    assert!(
        context.capabilities.add.is_empty() && context.run_as_user > 0,
        "{name}"
    );
}

/// The registry listens where the gate asks it, and nowhere else.
fn check_upstream(name: &str, documents: &[Value], url: &str) {
    let data = |map: &str, key: &str| {
        let mut maps = documents.iter().filter(|it| it["kind"] == "ConfigMap");
        let map = maps.find(|it| it["metadata"]["name"] == map).unwrap();
        map["data"][key].as_str().unwrap().to_owned()
    };
    let address = match name {
        "distribution.yaml" => {
            let config: Value =
                serde_norway::from_str(&data("distribution", "config.yml")).unwrap();
            config["http"]["addr"].as_str().unwrap().to_owned()
        }
        "zot.yaml" => {
            let config: Value = serde_json::from_str(&data("zot", "config.json")).unwrap();
            let http = &config["http"];
            format!(
                "{}:{}",
                http["address"].as_str().unwrap(),
                http["port"].as_str().unwrap()
            )
        }
        "harbor.yaml" => "harbor.harbor.svc:80".to_owned(),
        _ => "127.0.0.1:5000".to_owned(),
    };
    assert_eq!(url, format!("http://{address}"), "{name}");
}

#[test]
fn the_sidecars_beside_the_gate_are_what_they_say() {
    let values = documents("spegel-front-door.values.yaml").remove(0);
    let pod = Pod::of(&[], Some(&values));
    let hosts = pod.containers.iter().find(|it| it.name == "hosts").unwrap();
    assert_eq!(hosts.command, ["/portcullisctl"]);
    let arguments = std::iter::once("portcullisctl").chain(hosts.args.iter().map(|it| &**it));
    let arguments: Vec<String> = arguments
        .map(|it| it.replace("$(NODE_IP)", "10.0.0.7"))
        .collect();
    Ctl::try_parse_from(&arguments).unwrap_or_else(|error| panic!("{error}"));
    for mount in &hosts.volume_mounts {
        assert!(pod.volumes.iter().any(|it| it.name == mount.name));
        assert!(arguments.iter().any(|it| it.contains(&mount.mount_path)));
    }
    let exposed = pod.gate().ports.iter().find_map(|it| it.host_port).unwrap();
    let server = format!("--server=https://10.0.0.7:{exposed}");
    assert!(arguments.contains(&server), "{arguments:?}");

    // The redirect's port is the egress's, and the user whose requests are spared is the gate's.
    let values = documents("spegel-both-ways.values.yaml").remove(0);
    let pod = Pod::of(&[], Some(&values));
    let redirect = pod
        .containers
        .iter()
        .find(|it| it.name == "redirect")
        .unwrap();
    let after = |flag: &str| {
        let at = redirect.args.iter().position(|it| it == flag).unwrap();
        redirect.args[at + 1].clone()
    };
    let gate = pod.gate();
    assert!(
        gate.args
            .contains(&format!("--egress=127.0.0.1:{}", after("--to-ports")))
    );
    assert!(
        gate.args
            .contains(&format!("--listen=$(POD_IP):{}", after("--dport")))
    );
    let user = gate.security_context.as_ref().unwrap().run_as_user;
    assert_eq!(after("--uid-owner"), user.to_string());
}

#[test]
fn every_object_is_of_its_api_and_every_port_of_a_policy_is_opened() {
    let mut known = BTreeSet::from([5000, 5001, 9090]);
    for (name, values) in FILES.into_iter().chain([NODE]) {
        let documents = documents(name);
        let values = values.map(|values| self::documents(values).remove(0));
        let ports = Pod::of(&documents, values.as_ref());
        let ports = ports.containers.iter().flat_map(|it| &it.ports);
        known.extend(ports.map(|port| port.container_port));
    }
    let files = FILES.into_iter().chain([NODE]).map(|(name, _)| name);
    for name in files.chain(OTHERS) {
        for it in documents(name) {
            let kind = it["kind"].as_str().unwrap();
            let api = match kind {
                "ConfigMap" | "Pod" | "Service" => "v1",
                "DaemonSet" | "Deployment" => "apps/v1",
                "NetworkPolicy" => "networking.k8s.io/v1",
                "Certificate" | "Issuer" => "cert-manager.io/v1",
                "PodMonitor" => "monitoring.coreos.com/v1",
                "Kustomization" => "kustomize.config.k8s.io/v1beta1",
                _ => panic!("{name}: {kind}"),
            };
            assert_eq!(it["apiVersion"], api, "{name}");
            if kind == "Kustomization" {
                continue;
            }
            assert!(it["metadata"]["namespace"].is_string(), "{name}: {kind}");
            if kind != "NetworkPolicy" {
                continue;
            }
            for rule in it["spec"]["ingress"].as_array().unwrap() {
                for port in rule["ports"].as_array().unwrap_or(&Vec::new()) {
                    let port = port["port"].as_u64().unwrap();
                    assert!(
                        known.contains(&u16::try_from(port).unwrap()),
                        "{name}: {port}"
                    );
                }
            }
        }
    }
}

/// What the files leave to the operator is named where the files are explained.
#[test]
fn the_page_explains_each_file_and_each_secret_that_is_not_in_one() {
    for (name, values) in FILES.into_iter().chain([NODE]) {
        for file in std::iter::once(name).chain(values) {
            assert!(PAGE.contains(file), "{file}");
        }
        let documents = documents(name);
        let values = values.map(|values| self::documents(values).remove(0));
        let made: BTreeSet<&str> = documents
            .iter()
            .filter_map(|it| it["metadata"]["name"].as_str())
            .collect();
        let pod = Pod::of(&documents, values.as_ref());
        let mut named = BTreeSet::new();
        for volume in &pod.volumes {
            named.extend(volume.config_map.iter().map(|it| it.name.clone()));
            named.extend(volume.secret.iter().map(|it| it.secret_name.clone()));
            for source in volume.projected.iter().flat_map(|it| &it.sources) {
                if let Source::ConfigMap(it) | Source::Secret(it) = source {
                    named.insert(it.name.clone());
                }
            }
        }
        for variable in pod.containers.iter().flat_map(|it| &it.env) {
            if let Some(VariableSource::SecretKeyRef { name, .. }) = &variable.value_from {
                named.insert(name.clone());
            }
        }
        for it in named {
            let explained = PAGE.contains(&format!("`{it}`"));
            assert!(made.contains(&*it) || explained, "{name}: {it}");
        }
    }
    for name in OTHERS {
        assert!(PAGE.contains(name), "{name}");
    }
}
