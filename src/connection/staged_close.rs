use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Sleep, sleep};

/// This many bytes of what a client still sends are discarded at most. They are read below TLS, so they cost
/// a copy and no cryptography.
const BYTES: usize = 1024 * 1024;

/// For this long at most.
const TIME: Duration = Duration::from_secs(2);

/// The second stage of closing a connection (RFC 9112 §9.6). A socket that is closed while the client is
/// sending answers with a reset, and a reset makes the client's system throw away the answer that it has not
/// read yet. So a closing server, once it has ended what it writes, reads on for a short time.
#[derive(Debug, Default)]
pub(crate) struct StagedClose(Stage);

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Open,
    Discarding {
        left: usize,
        alarm: Pin<Box<Sleep>>,
    },
    Done,
}

impl StagedClose {
    /// Whether the writing side has ended, so that only the second stage is left.
    pub(crate) fn is_begun(&self) -> bool {
        !matches!(self.0, Stage::Open)
    }

    /// Discards what comes until the client has ended too, or the bound of bytes or of time is reached. The
    /// writing side must have ended before.
    pub(crate) fn poll_discard<IO: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut IO,
    ) -> Poll<io::Result<()>> {
        if !self.is_begun() {
            self.0 = Stage::Discarding {
                left: BYTES,
                alarm: Box::pin(sleep(TIME)),
            };
        }
        let Stage::Discarding { left, alarm } = &mut self.0 else {
            return Poll::Ready(Ok(()));
        };
        if alarm.as_mut().poll(cx).is_pending() {
            let mut space = [const { MaybeUninit::uninit() }; 8 * 1024];
            while *left > 0 {
                let mut buffer = ReadBuf::uninit(&mut space);
                let read = ready!(Pin::new(&mut *io).poll_read(cx, &mut buffer));
                let length = buffer.filled().len();
                // The connection is over, however it ends.
                if read.is_err() || length == 0 {
                    break;
                }
                *left = left.saturating_sub(length);
            }
        }
        self.0 = Stage::Done;
        Poll::Ready(Ok(()))
    }
}
