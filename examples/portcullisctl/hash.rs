use std::io::{self, BufRead};

use argon2::{Argon2, Params, PasswordHasher};
use clap::Args;

use crate::Answer;

/// Reads a password, one line of standard input, and prints its Argon2id digest line.
#[derive(Args)]
pub(crate) struct Hash {
    /// The memory that a check takes, in KiB
    #[arg(long, default_value_t = Params::DEFAULT_M_COST)]
    memory: u32,
    /// The passes over it
    #[arg(long, default_value_t = Params::DEFAULT_T_COST)]
    passes: u32,
}

impl Hash {
    pub(crate) fn run(&self) -> Answer {
        let mut password = String::new();
        io::stdin().lock().read_line(&mut password)?;
        let password = password.trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            return Err("no password came on standard input".into());
        }
        let parameters = Params::new(self.memory, self.passes, 1, None)
            .map_err(|error| format!("no such cost: {error}"))?;
        let hash = Argon2::from(parameters)
            .hash_password(password.as_bytes())
            .map_err(|error| format!("cannot hash: {error}"))?;
        println!("digest = \"{hash}\"");
        Ok(true)
    }
}
