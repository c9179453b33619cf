use axum::body::{Body, Bytes};
use http_body_util::BodyExt as _;
use tokio_util::sync::CancellationToken;

use super::problem::Problem;
use crate::store::{Sink, Store, StoreError};

/// How much of a body is gathered before it goes to the disk.
const BATCH: usize = 512 * 1024;

/// Writes a body, or the beginning of it if it is cut, and gives the writer back.
///
/// `length` is what the body must have, where the client said it; `given_up` ends it early.
///
/// # Errors
/// The body was cut, is not of that length, or was given up. What arrived has been written up to then.
pub(super) async fn receive<W: Sink>(
    store: &Store,
    mut body: Body,
    mut writer: W,
    length: Option<u64>,
    given_up: &CancellationToken,
) -> (Option<W>, Result<(), Problem>) {
    let mut left = length;
    loop {
        let gathered = given_up.run_until_cancelled(gather(&mut body, &mut left));
        let Some((batch, end)) = gathered.await else {
            return (Some(writer), Err(StoreError::UploadUnknown.into()));
        };
        let written = store
            .run(move |_| {
                for piece in &batch {
                    writer.write(piece)?;
                }
                Ok(writer)
            })
            .await;
        writer = match written {
            Ok(writer) => writer,
            Err(error) => return (None, Err(error.into())),
        };
        match end {
            None => {}
            Some(Ok(())) if left.is_some_and(|left| left > 0) => {
                return (Some(writer), Err(Problem::SizeInvalid));
            }
            Some(result) => return (Some(writer), result),
        }
    }
}

/// Reads a body that is not needed, so that the client hears the answer, unless it is a long one.
pub(super) async fn discard(mut body: Body) {
    let mut left = 32 * BATCH;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// The next pieces of the body, and how it ended if it did.
async fn gather(
    body: &mut Body,
    left: &mut Option<u64>,
) -> (Vec<Bytes>, Option<Result<(), Problem>>) {
    let mut batch = Vec::new();
    let mut size = 0;
    while size < BATCH {
        let frame = match body.frame().await {
            None => return (batch, Some(Ok(()))),
            Some(Err(_)) => return (batch, Some(Err(Problem::BodyCut))),
            Some(Ok(frame)) => frame,
        };
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        if let Some(left) = left {
            match left.checked_sub(piece.len() as u64) {
                Some(rest) => *left = rest,
                None => return (batch, Some(Err(Problem::SizeInvalid))),
            }
        }
        size += piece.len();
        batch.push(piece);
    }
    (batch, None)
}
