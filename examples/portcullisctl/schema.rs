use portcullis::config::Config;

use crate::Answer;

/// As `docs/config.schema.json` has it.
pub(crate) fn print() -> Answer {
    println!("{:#}", Config::json_schema());
    Ok(true)
}
