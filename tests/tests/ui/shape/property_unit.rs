// errors: 1
use agent_iac::prelude::*;

#[derive(Clone, Debug, PartialEq, Property)]
struct Limits;

fn main() {}
