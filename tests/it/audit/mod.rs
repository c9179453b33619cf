mod admin;
mod fields;
mod log;
mod sink;
