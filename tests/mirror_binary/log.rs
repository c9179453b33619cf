//! A log that cannot be written costs lines, and no answer.

use std::fs::OpenOptions;
use std::io::{PipeReader, pipe};
use std::process::Stdio;

use tempfile::TempDir;

use crate::operate::free_address;
use crate::support::{Mirror, Shown};

/// More lines than a pipe that is not read holds.
const MANY: usize = 300;

/// Asks for what is refused, which is a line of the log each time.
async fn ask(mirror: &Mirror, times: usize) {
    let stranger = mirror.client(Shown::default());
    for _ in 0..times {
        let answer = stranger.get(mirror.url("/v2/a/tags/list")).send().await;
        assert_eq!(answer.unwrap().status(), 401);
    }
}

async fn lost_lines(mirror: &Mirror, admin: &str) -> u64 {
    let client = mirror.client(Shown::default());
    let scrape = client.get(format!("http://{admin}/metrics")).send().await;
    let scrape = scrape.unwrap().text().await.unwrap();
    let mut lines = scrape.lines();
    let lost = lines.find_map(|line| line.strip_prefix("log_lines_lost_total "));
    lost.unwrap().parse().unwrap()
}

async fn goes_on(log: Stdio, gone: Option<PipeReader>) -> u64 {
    let data = TempDir::new().unwrap();
    let admin = free_address().await.to_string();
    let mut mirror = Mirror::logging_to(&data, &["--admin", &admin], log).await;
    ask(&mirror, 1).await;
    drop(gone);
    ask(&mirror, MANY).await;
    let lost = lost_lines(&mirror, &admin).await;
    mirror.signal("-HUP");
    ask(&mirror, 1).await;
    mirror.signal("-TERM");
    assert!(mirror.ended().await.success());
    lost
}

#[tokio::test]
async fn a_log_whose_reader_is_gone_stops_nothing_and_is_counted() {
    let (reader, writer) = pipe().unwrap();
    let lost = goes_on(writer.into(), Some(reader)).await;
    // The last of them may still be on their way to the pipe.
    assert!(lost > MANY as u64 / 2, "{lost}");
}

#[tokio::test]
async fn a_log_that_is_not_read_stops_nothing() {
    let (_reader, writer) = pipe().unwrap();
    goes_on(writer.into(), None).await;
}

#[tokio::test]
async fn a_log_on_a_full_disk_stops_nothing_and_is_counted() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let lost = goes_on(full.into(), None).await;
    assert!(lost > MANY as u64 / 2, "{lost}");
}
