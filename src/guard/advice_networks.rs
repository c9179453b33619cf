//! Networks that are probably not meant, or of which each address is one.

use ipnet::IpNet;

use super::Problem;
use super::advice::Advice;
use crate::config::Document;
use crate::util::file::{DOCUMENT, read_text};

/// The keys of lists of networks.
const LISTS: [&str; 6] = [
    "allow",
    "deny",
    "proxies",
    "networks",
    "exempt",
    "proxy_protocol",
];

impl Advice<'_> {
    pub(super) fn networks(&mut self) {
        let mut documents = vec![self.config.document.clone()];
        documents.extend(self.rules().into_iter().map(|(document, _)| document));
        documents.dedup_by(|one, other| one.name() == other.name());
        documents.extend(self.credentials_files());
        for document in documents {
            for (key, text) in document.texts() {
                let listed = key.name().is_some_and(|name| LISTS.contains(&name));
                let network = text.parse::<IpNet>().ok().filter(|_| listed);
                if let Some(network) = network
                    && network.addr() != network.network()
                {
                    let problem = Problem::HostBits {
                        written: text.into(),
                        meant: network.trunc().to_string().into(),
                        host: IpNet::from(network.addr()).to_string().into(),
                    };
                    self.tell(&document, &key, problem);
                }
            }
        }
        self.every_address();
        let denied = self.config.source.iter().flat_map(|source| &source.deny);
        let (mut v4, mut v6) = (false, false);
        for network in denied.filter(|network| network.prefix_len() == 0) {
            v4 |= matches!(network, IpNet::V4(_));
            v6 |= matches!(network, IpNet::V6(_));
        }
        if v4 && v6 {
            self.here("source.deny", Problem::NoNetwork);
        }
        let source = self.config.source.as_ref();
        if source.is_some_and(|source| source.allow.as_ref().is_some_and(Vec::is_empty)) {
            self.here("source.allow", Problem::NoNetwork);
        }
    }

    /// Lists that believe or exempt every address of a family.
    fn every_address(&mut self) {
        for (key, text) in self.config.document.texts() {
            let network = text.parse::<IpNet>();
            if network.is_ok_and(|network| network.prefix_len() == 0) {
                let path = key.to_string();
                let list = path.split('[').next().unwrap_or_default();
                let problem = match list {
                    "forwarded.proxies" | "serve.proxy_protocol" | "tls.proxy_protocol" => {
                        Problem::EveryoneIsAProxy
                    }
                    "auth.throttle.exempt" => Problem::EveryoneIsExempt,
                    _ => continue,
                };
                self.here(key, problem);
            }
        }
    }

    /// The credentials files; one that cannot be read was an error before.
    pub(super) fn credentials_files(&self) -> Vec<Document> {
        let auth = self.config.auth.iter();
        let files = auth.flat_map(|auth| &auth.credentials);
        let read = files.filter_map(|file| {
            let file = self.config.document.resolve(file);
            let text = read_text(&file, DOCUMENT).ok()?;
            Some(Document::of_file(&file, text))
        });
        read.collect()
    }
}
