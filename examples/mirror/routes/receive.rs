use axum::body::{Body, Bytes};
use http_body_util::BodyExt as _;

use super::problem::Problem;
use crate::store::{Incoming, Store};

/// How much of a body is gathered before it goes to the disk.
const BATCH: usize = 512 * 1024;

/// Writes a body, or the beginning of it if it is cut, and gives the writer back.
///
/// `length` is what the body must have, where the client said it.
///
/// # Errors
/// The body was cut or is not of that length. What arrived has been written up to then.
pub(super) async fn receive<W>(
    store: &Store,
    mut body: Body,
    mut writer: W,
    length: Option<u64>,
) -> (Option<W>, Result<(), Problem>)
where
    W: AsMut<Incoming> + Send + 'static,
{
    let mut left = length;
    loop {
        let (batch, end) = gather(&mut body, &mut left).await;
        let written = store
            .run(move |_| {
                for piece in &batch {
                    writer.as_mut().write(piece)?;
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
