mod authorities;
mod counts;
mod deltas;
mod enforcement;
mod pkits;
mod rules;
mod signers;
mod verify;
