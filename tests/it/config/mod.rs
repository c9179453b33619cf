mod bounds;
mod errors;
mod schema;
