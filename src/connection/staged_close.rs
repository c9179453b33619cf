use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::LONGEST_UNREAD;

/// The second stage of closing a connection (RFC 9112 §9.6). A socket that is closed while the client is
/// sending answers with a reset, and a reset makes the client's system throw away the answer that it has not
/// read yet. So a closing server, once it has ended what it writes, reads on for a short time, however much comes: a
/// client that is kept from sending does not come to the answer. It reads below TLS, so what it drops costs a copy and
/// no cryptography.
#[derive(Debug, Default)]
pub(crate) struct StagedClose(Stage);

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Open,
    Discarding {
        alarm: Pin<Box<Sleep>>,
    },
    Done,
}

impl StagedClose {
    /// Whether the writing side has ended, so that only the second stage is left.
    pub(crate) fn is_begun(&self) -> bool {
        !matches!(self.0, Stage::Open)
    }

    /// Discards what comes until the client has ended too, or the time is over. The writing side must have ended
    /// before.
    pub(crate) fn poll_discard<IO: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut IO,
    ) -> Poll<io::Result<()>> {
        if !self.is_begun() {
            self.0 = Stage::Discarding {
                alarm: Box::pin(sleep(LONGEST_UNREAD)),
            };
        }
        let Stage::Discarding { alarm } = &mut self.0 else {
            return Poll::Ready(Ok(()));
        };
        if alarm.as_mut().poll(cx).is_pending() {
            let mut space = [const { MaybeUninit::uninit() }; 8 * 1024];
            loop {
                let mut buffer = ReadBuf::uninit(&mut space);
                let read = ready!(Pin::new(&mut *io).poll_read(cx, &mut buffer));
                // The connection is over, however it ends.
                if read.is_err() || buffer.filled().is_empty() {
                    break;
                }
            }
        }
        self.0 = Stage::Done;
        Poll::Ready(Ok(()))
    }
}
