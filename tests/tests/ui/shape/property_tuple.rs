// errors: 1
use agent_iac::prelude::*;

#[derive(Clone, Debug, PartialEq, Property)]
struct Limits(u32, u32);

fn main() {}
