mod authorities;
mod counts;
mod deltas;
mod denied;
mod enforcement;
mod pkits;
mod rules;
mod sequences;
mod signers;
#[cfg(all(feature = "crl", feature = "aws-lc-rs"))]
mod support;
mod verify;
