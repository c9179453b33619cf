//! A body out of memory: the cheapest that there is, so that what is around it shows most.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

const FRAME: usize = 64 << 10;

/// So many zeros, a multiple of 64 KiB, in frames of that length.
pub(crate) struct Zeros(pub(crate) u64);

impl Body for Zeros {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        static ZEROS: [u8; FRAME] = [0; FRAME];
        if self.0 == 0 {
            return Poll::Ready(None);
        }
        self.0 -= FRAME as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&ZEROS)))))
    }

    fn is_end_stream(&self) -> bool {
        self.0 == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}
