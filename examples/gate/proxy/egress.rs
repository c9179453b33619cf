use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::uri::{PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use portcullis::{Connection, Watched};
use rustls::pki_types::ServerName;

use super::bodies::ProxyBody;
use super::exchange::Exchange;
use super::headers;
use super::in_flight::InFlight;
use super::problem::{Complaints, Problem};
use super::upstream::Place;
use super::{Targets, Tls};
use crate::dialled::Dialled;

/// Carries a node's own requests to other gates over mutual TLS. `Clone` costs an `Arc`.
#[derive(Debug)]
pub(crate) struct Egress<B>(Arc<Inner<B>>);

#[derive(Debug)]
struct Inner<B> {
    targets: Targets,
    exchange: Exchange<B>,
    complaints: Complaints,
    in_flight: InFlight,
    patience: Duration,
}

impl<B> Clone for Egress<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B> Egress<B>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Goes to these targets, whose certificates must be for `name`, or else for the host that is asked.
    /// The deadlines are those of a connection, a head and a silent body.
    pub(crate) fn new(
        targets: Targets,
        name: Option<ServerName<'static>>,
        tls: Watched<Tls>,
        deadlines: [Duration; 3],
        in_flight: InFlight,
    ) -> Self {
        let place = Place::Gates {
            targets: targets.clone(),
            name,
            tls,
        };
        let [_, patience, _] = deadlines;
        Self(Arc::new(Inner {
            targets,
            exchange: Exchange::new(Arc::new(place), deadlines, &in_flight),
            complaints: Complaints::default(),
            in_flight,
            patience,
        }))
    }

    /// Carries one request. A redirect is the client's to follow.
    pub(crate) async fn call(self, request: Request<B>) -> Response<ProxyBody> {
        let method = request.method().clone();
        match self.0.carry(request).await {
            Ok(answer) => answer,
            Err(problem) => {
                self.0.complaints.note(&problem, &"egress");
                problem.answer(&method)
            }
        }
    }
}

impl<B> Inner<B>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    async fn carry(&self, request: Request<B>) -> Result<Response<ProxyBody>, Problem> {
        let dialled = Connection::of(request.extensions());
        let dialled = dialled.and_then(|connection| connection.state::<Dialled>());
        let target = self
            .targets
            .of(&request, dialled.map(|dialled| dialled.0))?;
        let (parts, body) = request.into_parts();
        let source = headers::source(&parts.extensions);
        let path = parts.uri.path_and_query().cloned();
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(Scheme::HTTPS);
        uri.path_and_query = path.or(Some(PathAndQuery::from_static("/")));
        uri.authority = Some(target);
        let mut head = Request::new(());
        *head.method_mut() = parts.method;
        *head.uri_mut() = Uri::from_parts(uri).map_err(super::upstream::UpstreamError::from)?;
        *head.headers_mut() = parts.headers;
        let headers = head.headers_mut();
        headers::remove_hop_by_hop(headers).map_err(Problem::Request)?;
        headers.remove(http::header::EXPECT);
        // The client writes it, from the one host that was checked.
        headers.remove(HOST);
        let place = self.in_flight.take(source, self.patience).await?;
        self.exchange.send(place, head, body).await
    }
}
