mod admin;
mod fields;
mod log;
