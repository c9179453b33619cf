use std::io::Write as _;

use portcullis::config::Config;

use crate::Answer;

/// As `docs/config.schema.json` has it.
pub(crate) fn print() -> Answer {
    writeln!(std::io::stdout(), "{:#}", Config::json_schema())?;
    Ok(true)
}
