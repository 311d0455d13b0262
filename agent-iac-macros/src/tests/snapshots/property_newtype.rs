#[automatically_derived]
impl ::agent_iac::resource::Property for Limit {
    const SCHEMA: ::agent_iac::schema::Type = <u32 as ::agent_iac::resource::Property>::SCHEMA;
    fn to_value(&self) -> ::agent_iac::value::Value {
        <u32 as ::agent_iac::resource::Property>::to_value(&self.0)
    }
    fn from_value(value: &::agent_iac::value::Value) -> ::core::option::Option<Self> {
        <u32 as ::agent_iac::resource::Property>::from_value(value).map(Self)
    }
    fn to_node(&self) -> ::agent_iac::resource::Node {
        <u32 as ::agent_iac::resource::Property>::to_node(&self.0)
    }
}
