use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use portcullis::auth::GeneratedToken;

use crate::Answer;

/// Makes a token and shows where each of its forms goes. It is shown once and kept nowhere.
#[derive(Args)]
pub(crate) struct Token {
    /// The credential's id, which is the user name with Basic.
    #[arg(default_value = "ci")]
    id: String,
    /// The registry or mirror as its clients name it, with the port.
    #[arg(long, default_value = "registry.example.org")]
    host: String,
    /// Prints the token alone on standard output, and its digest line on standard error.
    #[arg(long)]
    bare: bool,
}

impl Token {
    pub(crate) fn run(&self) -> Answer {
        let (id, host) = (&self.id, &self.host);
        if id.is_empty() || id.contains(|c: char| c == ':' || c.is_control()) {
            return Err(
                format!("{id:?} is no id: it has neither colons nor control characters").into(),
            );
        }
        let token = GeneratedToken::generate()?;
        let secret = token.expose();
        let digest = token.digest_text();
        if self.bare {
            println!("{secret}");
            eprintln!("digest = \"{digest}\"");
            return Ok(true);
        }
        println!("{secret}\n");
        println!("# The server's credentials file. It holds the digest only.");
        println!("[[credential]]\nid = {id:?}");
        println!("[[credential.secret]]\ndigest = \"{digest}\"\n");
        println!("# containerd: /etc/containerd/certs.d/<registry>/hosts.toml");
        println!("[host.\"https://{host}\".header]\nAuthorization = \"Bearer {secret}\"\n");
        println!("# docker, podman, skopeo: config.json or auth.json");
        let auth = BASE64_STANDARD.encode(format!("{id}:{secret}"));
        println!(
            "{}",
            serde_json::json!({ "auths": { host: { "auth": auth } } })
        );
        Ok(true)
    }
}
