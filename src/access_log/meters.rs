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
        requests: [[OnceLock<Counter>; STATUSES]; METHODS.len()],
    }

    /// The endpoints, and `none`.
    const ENDPOINTS: usize = Endpoint::Outside as usize + 2;

    // The first is OpenTelemetry's name for whatever is not in the list.
    const METHODS: [&str; 8] = [
        "_OTHER", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS",
    ];

    /// For what is not in [`LISTED`], by its first digit.
    const CLASSES: [&str; 6] = [NONE, "1xx", "2xx", "3xx", "4xx", "5xx"];

    static LISTED: [StatusCode; STATUSES - CLASSES.len()] = [
        StatusCode::OK,
        StatusCode::CREATED,
        StatusCode::ACCEPTED,
        StatusCode::NO_CONTENT,
        StatusCode::PARTIAL_CONTENT,
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::NOT_MODIFIED,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::BAD_REQUEST,
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::NOT_FOUND,
        StatusCode::METHOD_NOT_ALLOWED,
        StatusCode::CONFLICT,
        StatusCode::PAYLOAD_TOO_LARGE,
        StatusCode::RANGE_NOT_SATISFIABLE,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::INTERNAL_SERVER_ERROR,
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ];

    const STATUSES: usize = 28;

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
                requests: [const { [const { OnceLock::new() }; STATUSES] }; METHODS.len()],
            }
        }

        fn requests(&self, method: &Method, status: Option<StatusCode>) -> &Counter {
            let (method, status) = (method_place(method), status_place(status));
            self.requests[method][status].get_or_init(|| {
                counter!(
                    "portcullis_requests_total",
                    "endpoint" => self.label,
                    "method" => METHODS[method],
                    "status" => status_label(status)
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
        let known = METHODS.iter().position(|known| *known == method.as_str());
        known.unwrap_or(0)
    }

    fn status_place(status: Option<StatusCode>) -> usize {
        let Some(status) = status else { return 0 };
        let listed = LISTED.iter().position(|known| *known == status);
        match (listed, status.as_u16() / 100) {
            (Some(place), _) => CLASSES.len() + place,
            (None, class @ 1..=5) => class.into(),
            (None, _) => 0,
        }
    }

    fn status_label(place: usize) -> &'static str {
        let listed = || LISTED[place - CLASSES.len()].as_str();
        CLASSES.get(place).copied().unwrap_or_else(listed)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn what_is_not_listed_falls_into_its_class() {
            let of = |code| status_label(status_place(StatusCode::from_u16(code).ok()));
            assert_eq!(of(206), "206");
            assert_eq!(of(226), "2xx");
            assert_eq!(of(418), "4xx");
            assert_eq!(of(999), "none");
            assert_eq!(of(504), "504");
            assert_eq!(status_label(status_place(None)), "none");
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
