use std::time::Duration;

use http::{Method, StatusCode};

use super::entry::Outcome;
use crate::oci::Endpoint;

/// Which way bytes went, seen from the gate.
#[derive(Clone, Copy, Debug)]
pub(super) enum Direction {
    In,
    Out,
}

/// What is counted of a request that has ended.
#[cfg_attr(
    not(feature = "metrics"),
    allow(dead_code, reason = "the twin of the counting one reads nothing")
)]
pub(super) struct Summary<'a> {
    pub(super) method: &'a Method,
    pub(super) endpoint: Option<Endpoint>,
    pub(super) status: Option<StatusCode>,
    pub(super) outcome: Outcome,
    pub(super) duration: Duration,
    pub(super) throttled: Duration,
    /// Whether its beginning was counted: the recorder may have come since.
    pub(super) begun: bool,
}

#[cfg(feature = "metrics")]
pub(super) use on::Meters;

#[cfg(not(feature = "metrics"))]
pub(super) use off::Meters;

#[cfg(feature = "metrics")]
mod on {
    use std::sync::OnceLock;

    use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

    use super::super::recorder;
    use super::{Direction, Endpoint, Method, StatusCode, Summary};

    /// The access log's handles. Each is looked up once, when it is first needed and a recorder is there.
    pub(in crate::audit) struct Meters {
        wanted: bool,
        handles: recorder::Handles<Handles>,
        requests: Box<[OnceLock<Counter>]>,
    }

    struct Handles {
        under_way: Gauge,
        bytes_in: Counter,
        bytes_out: Counter,
        throttled: Histogram,
        durations: [Histogram; ENDPOINTS.len()],
    }

    const ENDPOINTS: [&str; 11] = [
        "none",
        "base",
        "blob",
        "manifest",
        "upload_start",
        "upload",
        "tags",
        "referrers",
        "catalog",
        "extension",
        "outside",
    ];

    // OpenTelemetry's name for whatever is not in the list.
    const METHODS: [&str; 8] = [
        "_OTHER", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS",
    ];

    const STATUSES: [&str; 28] = [
        "none", "1xx", "2xx", "3xx", "4xx", "5xx", "200", "201", "202", "204", "206", "301", "302",
        "304", "307", "400", "401", "403", "404", "405", "409", "413", "416", "429", "500", "502",
        "503", "504",
    ];

    impl Meters {
        pub(in crate::audit) fn new(wanted: bool) -> Self {
            let cells = ENDPOINTS.len() * METHODS.len() * STATUSES.len();
            Self {
                wanted,
                handles: recorder::Handles::new(),
                requests: (0..cells).map(|_| OnceLock::new()).collect(),
            }
        }

        pub(in crate::audit) fn are_wanted(&self) -> bool {
            self.handles().is_some()
        }

        /// A request begins; whether that was counted.
        pub(in crate::audit) fn began(&self) -> bool {
            let handles = self.handles();
            if let Some(handles) = handles {
                handles.under_way.increment(1);
            }
            handles.is_some()
        }

        pub(in crate::audit) fn passed(&self, direction: Direction, bytes: u64) {
            if let Some(handles) = self.handles() {
                match direction {
                    Direction::In => handles.bytes_in.increment(bytes),
                    Direction::Out => handles.bytes_out.increment(bytes),
                }
            }
        }

        pub(in crate::audit) fn ended(&self, summary: &Summary<'_>) {
            let Some(handles) = self.handles() else {
                return;
            };
            if summary.begun {
                handles.under_way.decrement(1);
            }
            let endpoint = endpoint(summary.endpoint);
            handles.durations[endpoint].record(summary.duration);
            if !summary.throttled.is_zero() {
                handles.throttled.record(summary.throttled);
            }
            let (method, status) = (method(summary.method), status(summary.status));
            let cell = (endpoint * METHODS.len() + method) * STATUSES.len() + status;
            self.requests[cell]
                .get_or_init(|| {
                    counter!(
                        "portcullis_requests_total",
                        "endpoint" => ENDPOINTS[endpoint],
                        "method" => METHODS[method],
                        "status" => STATUSES[status]
                    )
                })
                .increment(1);
            if summary.outcome != super::Outcome::Finished {
                super::super::metrics::ended_early(summary.outcome.label());
            }
        }

        fn handles(&self) -> Option<&Handles> {
            let handles = self.wanted.then_some(&self.handles);
            handles.and_then(|handles| handles.get(Handles::new))
        }
    }

    impl Handles {
        fn new() -> Self {
            Self {
                under_way: gauge!("portcullis_requests_in_flight"),
                bytes_in: counter!("portcullis_body_bytes_total", "direction" => "in"),
                bytes_out: counter!("portcullis_body_bytes_total", "direction" => "out"),
                throttled: histogram!("portcullis_throttled_seconds"),
                durations: ENDPOINTS.map(|endpoint| {
                    histogram!("portcullis_request_duration_seconds", "endpoint" => endpoint)
                }),
            }
        }
    }

    impl std::fmt::Debug for Meters {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("Meters")
                .field("wanted", &self.wanted)
                .finish_non_exhaustive()
        }
    }

    fn endpoint(endpoint: Option<Endpoint>) -> usize {
        endpoint.map_or(0, |endpoint| {
            place(&ENDPOINTS, endpoint.label()).unwrap_or(0)
        })
    }

    fn method(method: &Method) -> usize {
        place(&METHODS, method.as_str()).unwrap_or(0)
    }

    fn status(status: Option<StatusCode>) -> usize {
        let Some(status) = status else { return 0 };
        place(&STATUSES, status.as_str()).unwrap_or(match status.as_u16() / 100 {
            class @ 1..=5 => usize::from(class),
            _ => 0,
        })
    }

    fn place(list: &[&str], label: &str) -> Option<usize> {
        list.iter().position(|known| *known == label)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn every_endpoint_has_its_own_label() {
            for known in [
                Endpoint::Base,
                Endpoint::Blob,
                Endpoint::Manifest,
                Endpoint::UploadStart,
                Endpoint::Upload,
                Endpoint::Tags,
                Endpoint::Referrers,
                Endpoint::Catalog,
                Endpoint::Extension,
                Endpoint::Outside,
            ] {
                assert_eq!(ENDPOINTS[endpoint(Some(known))], known.label());
            }
            assert_eq!(ENDPOINTS[endpoint(None)], "none");
        }

        #[test]
        fn what_is_not_listed_falls_into_its_class() {
            let of = |code| STATUSES[status(StatusCode::from_u16(code).ok())];
            assert_eq!(of(206), "206");
            assert_eq!(of(226), "2xx");
            assert_eq!(of(418), "4xx");
            assert_eq!(of(999), "none");
            assert_eq!(STATUSES[status(None)], "none");
            let brew = Method::from_bytes(b"BREW").unwrap();
            assert_eq!(METHODS[method(&brew)], "_OTHER");
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod off {
    use super::{Direction, Summary};

    /// Stands in for the handles where the feature `metrics` is off.
    #[derive(Debug)]
    pub(in crate::audit) struct Meters;

    #[allow(clippy::unused_self, reason = "the twin of the counting one")]
    impl Meters {
        pub(in crate::audit) fn new(_wanted: bool) -> Self {
            Self
        }

        pub(in crate::audit) fn are_wanted(&self) -> bool {
            false
        }

        pub(in crate::audit) fn began(&self) -> bool {
            false
        }

        pub(in crate::audit) fn passed(&self, _direction: Direction, _bytes: u64) {}

        pub(in crate::audit) fn ended(&self, _summary: &Summary<'_>) {}
    }
}
