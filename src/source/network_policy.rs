use std::collections::BTreeMap;
use std::fmt;

use ipnet::IpNet;

use super::{NetworkSet, Networks};

/// What `Display` writes as YAML.
struct NetworkPolicy {
    name: String,
    namespace: Option<String>,
    selector: BTreeMap<String, String>,
    ports: Vec<u16>,
    blocks: Vec<Block>,
}

/// Why Kubernetes would not accept a name.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkPolicyError {
    /// The name is no DNS label or subdomain (RFC 1123).
    #[error("{0:?} is no Kubernetes name: lower-case letters, digits, `-` and `.`")]
    Name(String),
    /// The text is no label.
    #[error("{0:?} is no label: write it as in \"app=mirror\"")]
    Label(String),
    /// The labels select no pods, or all of the namespace: probably not meant.
    #[error("there is no selector: write which pods it is about, as in \"app=mirror\"")]
    NoSelector,
}

/// An `ipBlock`.
#[derive(Clone, Debug)]
struct Block {
    network: IpNet,
    except: Vec<IpNet>,
}

impl Networks {
    /// Returns the YAML of a Kubernetes `NetworkPolicy` (networking.k8s.io/v1) of this name that lets the same networks
    /// in, so that the cluster turns the others away before the gate has to. It is about the pods that have the labels
    /// in `selector`, each as `key=value`, in `namespace` or else in the one in which it is applied, and about these TCP
    /// ports, or without any about every port.
    ///
    /// The policy judges the address that arrives at the pod: behind a load balancer that hides clients, only the
    /// gate can distinguish them.
    ///
    /// # Errors
    /// Returns an error for a name or a label that Kubernetes would not accept.
    pub fn to_network_policy<'a>(
        &self,
        name: &str,
        namespace: Option<&str>,
        selector: impl IntoIterator<Item = &'a str>,
        ports: &[u16],
    ) -> Result<String, NetworkPolicyError> {
        let selector: BTreeMap<_, _> = selector
            .into_iter()
            .map(|text| label(text).ok_or_else(|| NetworkPolicyError::Label(text.to_owned())))
            .collect::<Result<_, _>>()?;
        if selector.is_empty() {
            return Err(NetworkPolicyError::NoSelector);
        }
        let policy = NetworkPolicy {
            name: named(name)?,
            namespace: namespace.map(named).transpose()?,
            selector,
            ports: ports.to_vec(),
            blocks: blocks(self),
        };
        Ok(policy.to_string())
    }
}

fn blocks(networks: &Networks) -> Vec<Block> {
    let everything = || {
        ["0.0.0.0/0", "::/0"]
            .into_iter()
            .filter_map(|net| net.parse().ok())
    };
    let allowed: Vec<IpNet> = match networks.allowed() {
        Some(allowed) => allowed.collect(),
        None => everything().collect(),
    };
    let denied: Vec<IpNet> = networks.denied().collect();
    let denied_set: NetworkSet = denied.iter().copied().collect();
    allowed
        .into_iter()
        .filter(|network| !denied_set.covers(*network))
        .map(|network| Block {
            network,
            except: denied
                .iter()
                .copied()
                .filter(|denied| network.contains(denied))
                .collect(),
        })
        .collect()
}

fn named(name: &str) -> Result<String, NetworkPolicyError> {
    let known = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    if name.len() <= 253
        && bytes.iter().copied().all(known)
        && ends(bytes.first())
        && ends(bytes.last())
    {
        return Ok(name.to_owned());
    }
    Err(NetworkPolicyError::Name(name.to_owned()))
}

fn label(text: &str) -> Option<(String, String)> {
    let (key, value) = text.split_once('=')?;
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let key_known = |byte: u8| known(byte) || byte == b'/';
    let fits = !key.is_empty() && key.bytes().all(key_known) && value.bytes().all(known);
    fits.then(|| (key.to_owned(), value.to_owned()))
}

impl fmt::Display for NetworkPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "apiVersion: networking.k8s.io/v1")?;
        writeln!(f, "kind: NetworkPolicy")?;
        writeln!(f, "metadata:")?;
        writeln!(f, "  name: \"{}\"", self.name)?;
        if let Some(namespace) = &self.namespace {
            writeln!(f, "  namespace: \"{namespace}\"")?;
        }
        writeln!(f, "spec:")?;
        writeln!(f, "  podSelector:")?;
        writeln!(f, "    matchLabels:")?;
        for (key, value) in &self.selector {
            writeln!(f, "      \"{key}\": \"{value}\"")?;
        }
        writeln!(f, "  policyTypes: [Ingress]")?;
        if self.blocks.is_empty() {
            return writeln!(f, "  ingress: []");
        }
        writeln!(f, "  ingress:")?;
        writeln!(f, "    - from:")?;
        for block in &self.blocks {
            writeln!(f, "        - ipBlock:")?;
            writeln!(f, "            cidr: \"{}\"", block.network)?;
            if !block.except.is_empty() {
                writeln!(f, "            except:")?;
            }
            for network in &block.except {
                writeln!(f, "              - \"{network}\"")?;
            }
        }
        if !self.ports.is_empty() {
            writeln!(f, "      ports:")?;
        }
        for port in &self.ports {
            writeln!(f, "        - protocol: TCP")?;
            writeln!(f, "          port: {port}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_cluster_lets_the_same_networks_in_as_the_gate() {
        let networks = Networks::allow(nets(&["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"]))
            .and_deny(nets(&["10.9.0.0/16", "192.0.0.0/16", "198.51.100.0/24"]));
        let namespace = Some("registry");
        let policy = networks.to_network_policy("mirror", namespace, ["app=mirror"], &[5000]);
        assert_eq!(
            policy.unwrap(),
            r#"apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: "mirror"
  namespace: "registry"
spec:
  podSelector:
    matchLabels:
      "app": "mirror"
  policyTypes: [Ingress]
  ingress:
    - from:
        - ipBlock:
            cidr: "10.0.0.0/8"
            except:
              - "10.9.0.0/16"
        - ipBlock:
            cidr: "2001:db8::/32"
      ports:
        - protocol: TCP
          port: 5000
"#
        );
    }

    #[test]
    fn no_network_and_every_network_are_distinguished() {
        let yaml = |networks: Networks| {
            let policy = networks.to_network_policy("m", None, ["app=m"], &[]);
            policy.unwrap()
        };
        assert!(yaml(Networks::allow([])).ends_with("  ingress: []\n"));
        let all = yaml(Networks::allow_all().and_deny(nets(&["10.0.0.0/8"])));
        assert!(all.contains("\"0.0.0.0/0\"\n            except:\n              - \"10.0.0.0/8\""));
        assert!(all.contains("\"::/0\""));
    }

    #[test]
    fn what_kubernetes_would_not_take_is_an_error() {
        let networks = Networks::allow_all();
        let new = |name, selector| networks.to_network_policy(name, None, selector, &[]);
        for name in ["", "-a", "A", "a b", "a\"\n", "a."] {
            assert!(new(name, vec!["app=m"]).is_err(), "{name:?}");
        }
        assert!(
            networks
                .to_network_policy("m", Some("A"), ["app=m"], &[])
                .is_err()
        );
        for label in ["app", "=x", "a\"=b", "a=b\nc", "a=b c"] {
            assert!(new("m", vec![label]).is_err(), "{label:?}");
        }
        assert_eq!(
            new("m", vec![]).unwrap_err(),
            NetworkPolicyError::NoSelector
        );
    }
}
