//! What a test's own thread logs, as JSON lines.
#![allow(dead_code, reason = "each test file uses what it needs")]

use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::{Map, Value};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

/// The lines that were logged on this thread since it was made.
pub(crate) struct Captured {
    sink: Sink,
    _guard: DefaultGuard,
}

/// Lines written by any subscriber that has this as its writer.
#[derive(Clone, Default)]
pub(crate) struct Sink(Arc<Mutex<Vec<u8>>>);

impl Captured {
    /// Begins to capture the access log.
    pub(crate) fn start() -> Self {
        Self::from(tracing::Level::INFO)
    }

    /// Begins to capture everything at this level and above.
    pub(crate) fn from(level: tracing::Level) -> Self {
        let sink = Sink::default();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_max_level(level)
            .with_writer(sink.clone())
            .finish();
        Self {
            sink,
            _guard: tracing::subscriber::set_default(subscriber),
        }
    }

    /// Every line as it was written.
    pub(crate) fn text(&self) -> String {
        self.sink.text()
    }

    /// The access log's events.
    pub(crate) fn events(&self) -> Vec<Map<String, Value>> {
        self.sink.events()
    }

    /// The one event of the access log.
    pub(crate) fn only(&self) -> Map<String, Value> {
        let mut events = self.events();
        assert_eq!(events.len(), 1, "{events:?}");
        events.remove(0)
    }

    /// One field of every event, in order.
    pub(crate) fn each(&self, field: &str) -> Vec<Value> {
        let events = self.events().into_iter();
        events.map(|event| event[field].clone()).collect()
    }
}

impl Sink {
    /// Takes the access log of every thread from now on. Once in a process.
    pub(crate) fn everywhere() -> Self {
        let sink = Self::default();
        tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(sink.clone())
            .init();
        sink
    }

    /// Takes the errors of every thread from its first call on, as plain text.
    pub(crate) fn errors_everywhere() -> &'static Self {
        static ERRORS: OnceLock<Sink> = OnceLock::new();
        ERRORS.get_or_init(|| {
            let sink = Self::default();
            let subscriber = tracing_subscriber::fmt()
                .with_max_level(tracing::Level::ERROR)
                .with_ansi(false)
                .with_writer(sink.clone())
                .finish();
            tracing::subscriber::set_global_default(subscriber).unwrap();
            sink
        })
    }

    /// Every line as it was written.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The access log's events.
    pub(crate) fn events(&self) -> Vec<Map<String, Value>> {
        let text = self.text();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines
            .filter(|event: &Map<_, _>| event["target"] == "portcullis::access")
            .collect()
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
