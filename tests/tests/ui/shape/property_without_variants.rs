// errors: 1
use agent_iac::prelude::*;

#[derive(Property)]
enum Action {}

fn main() {}
