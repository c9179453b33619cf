use std::time::Duration;

use http::{Method, StatusCode};

use super::outcome::Outcome;
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

    use super::{Direction, Endpoint, Method, StatusCode, Summary};
    use crate::telemetry::recorder;

    /// The access log's handles, each of which is looked up once, when it is first needed and a recorder is there.
    pub(in crate::access_log) struct Meters {
        wanted: bool,
        handles: recorder::Handles<Handles>,
    }

    struct Handles {
        in_flight: Gauge,
        bytes_in: Counter,
        bytes_out: Counter,
        throttled: Histogram,
        /// By [`endpoint_place`].
        endpoints: [OnceLock<Box<EndpointHandles>>; ENDPOINTS],
    }

    /// The handles of the requests of one endpoint.
    struct EndpointHandles {
        label: &'static str,
        duration: Histogram,
        /// By [`method_place`] and [`status_place`].
        requests: [[OnceLock<Counter>; STATUSES.len()]; METHODS.len()],
    }

    /// The endpoints, and `none`.
    const ENDPOINTS: usize = Endpoint::Outside as usize + 2;

    // The first is OpenTelemetry's name for whatever is not in the list.
    const METHODS: [&str; 8] = [
        "_OTHER", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS",
    ];

    // The first six are for what is not in the list, by its first digit.
    const STATUSES: [&str; 28] = [
        NONE, "1xx", "2xx", "3xx", "4xx", "5xx", "200", "201", "202", "204", "206", "301", "302",
        "304", "307", "400", "401", "403", "404", "405", "409", "413", "416", "429", "500", "502",
        "503", "504",
    ];

    const NONE: &str = "none";

    impl Meters {
        pub(in crate::access_log) fn new(wanted: bool) -> Self {
            Self {
                wanted,
                handles: recorder::Handles::new(),
            }
        }

        pub(in crate::access_log) fn are_wanted(&self) -> bool {
            self.handles().is_some()
        }

        /// A request begins; whether that was counted.
        pub(in crate::access_log) fn began(&self) -> bool {
            let handles = self.handles();
            if let Some(handles) = handles {
                handles.in_flight.increment(1);
            }
            handles.is_some()
        }

        pub(in crate::access_log) fn passed(&self, direction: Direction, bytes: u64) {
            if let Some(handles) = self.handles() {
                match direction {
                    Direction::In => handles.bytes_in.increment(bytes),
                    Direction::Out => handles.bytes_out.increment(bytes),
                }
            }
        }

        pub(in crate::access_log) fn ended(&self, summary: &Summary<'_>) {
            let Some(handles) = self.handles() else {
                return;
            };
            if summary.begun {
                handles.in_flight.decrement(1);
            }
            if !summary.throttled.is_zero() {
                handles.throttled.record(summary.throttled);
            }
            let endpoint = handles.of(summary.endpoint);
            endpoint.duration.record(summary.duration);
            endpoint
                .requests(summary.method, summary.status)
                .increment(1);
            if summary.outcome != super::Outcome::Finished {
                crate::telemetry::metrics::ended_early(summary.outcome.label());
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
                in_flight: gauge!("portcullis_requests_in_flight"),
                bytes_in: counter!("portcullis_body_bytes_total", "direction" => "in"),
                bytes_out: counter!("portcullis_body_bytes_total", "direction" => "out"),
                throttled: histogram!("portcullis_throttled_seconds"),
                endpoints: [const { OnceLock::new() }; ENDPOINTS],
            }
        }

        fn of(&self, endpoint: Option<Endpoint>) -> &EndpointHandles {
            self.endpoints[endpoint_place(endpoint)]
                .get_or_init(|| Box::new(EndpointHandles::new(endpoint)))
        }
    }

    impl EndpointHandles {
        fn new(endpoint: Option<Endpoint>) -> Self {
            let label = endpoint.map_or(NONE, Endpoint::label);
            Self {
                label,
                duration: histogram!("portcullis_request_duration_seconds", "endpoint" => label),
                requests: [const { [const { OnceLock::new() }; STATUSES.len()] }; METHODS.len()],
            }
        }

        fn requests(&self, method: &Method, status: Option<StatusCode>) -> &Counter {
            let (method, status) = (method_place(method), status_place(status));
            self.requests[method][status].get_or_init(|| {
                counter!(
                    "portcullis_requests_total",
                    "endpoint" => self.label,
                    "method" => METHODS[method],
                    "status" => STATUSES[status]
                )
            })
        }
    }

    impl std::fmt::Debug for Meters {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("Meters")
                .field("wanted", &self.wanted)
                .finish_non_exhaustive()
        }
    }

    fn endpoint_place(endpoint: Option<Endpoint>) -> usize {
        endpoint.map_or(ENDPOINTS - 1, |endpoint| endpoint as usize)
    }

    // The labels are of closed sets: a client's invention must not make a series.
    fn method_place(method: &Method) -> usize {
        place(&METHODS, method.as_str()).unwrap_or(0)
    }

    fn status_place(status: Option<StatusCode>) -> usize {
        let Some(status) = status else { return 0 };
        place(&STATUSES, status.as_str()).unwrap_or(match status.as_u16() / 100 {
            class @ 1..=5 => class.into(),
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
        fn what_is_not_listed_falls_into_its_class() {
            let of = |code| STATUSES[status_place(StatusCode::from_u16(code).ok())];
            assert_eq!(of(206), "206");
            assert_eq!(of(226), "2xx");
            assert_eq!(of(418), "4xx");
            assert_eq!(of(999), "none");
            assert_eq!(STATUSES[status_place(None)], "none");
            let method = |method| METHODS[method_place(&method)];
            let brew = Method::from_bytes(b"BREW").unwrap();
            assert_eq!(method(brew), "_OTHER");
            assert_eq!(method(Method::PATCH), "PATCH");
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod off {
    use super::{Direction, Summary};

    /// Stands in for the handles where the feature `metrics` is off.
    #[derive(Debug)]
    pub(in crate::access_log) struct Meters;

    #[allow(clippy::unused_self, reason = "the twin of the counting one")]
    impl Meters {
        pub(in crate::access_log) fn new(_wanted: bool) -> Self {
            Self
        }

        pub(in crate::access_log) fn are_wanted(&self) -> bool {
            false
        }

        pub(in crate::access_log) fn began(&self) -> bool {
            false
        }

        pub(in crate::access_log) fn passed(&self, _direction: Direction, _bytes: u64) {}

        pub(in crate::access_log) fn ended(&self, _summary: &Summary<'_>) {}
    }
}
