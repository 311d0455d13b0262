///Collects the keys of one [`Role`], or what was observed of one.
#[derive(::core::clone::Clone, ::core::fmt::Debug, ::core::default::Default)]
pub struct RoleBuilder {
    fields: ::agent_iac::resource::Fields,
}
#[allow(
    dead_code,
    clippy::wrong_self_convention,
    reason = "the names are those of the fields"
)]
impl RoleBuilder {
    ///Its name.
    pub fn name(
        &mut self,
        value: impl ::agent_iac::resource::IntoExpr<String>,
    ) -> &mut Self {
        ::agent_iac::__private::set::<String>(&mut self.fields, "name", value);
        self
    }
    ///Sets `member_of`.
    pub fn member_of(
        &mut self,
        value: impl ::agent_iac::resource::IntoExpr<BTreeSet<String>>,
    ) -> &mut Self {
        ::agent_iac::__private::set::<
            BTreeSet<String>,
        >(&mut self.fields, "member_of", value);
        self
    }
    ///Sets `comment`.
    pub fn comment(
        &mut self,
        value: impl ::agent_iac::resource::IntoExpr<Option<String>>,
    ) -> &mut Self {
        ::agent_iac::__private::set::<
            Option<String>,
        >(&mut self.fields, "comment", value);
        self
    }
    ///Its object id.
    #[doc(hidden)]
    pub fn oid(
        &mut self,
        value: impl ::agent_iac::resource::IntoExpr<u32>,
    ) -> &mut Self {
        ::agent_iac::__private::set::<u32>(&mut self.fields, "oid", value);
        self
    }
}
#[automatically_derived]
impl ::agent_iac::resource::Builder for RoleBuilder {
    fn fields(&self) -> &::agent_iac::resource::Fields {
        &self.fields
    }
    fn fields_mut(&mut self) -> &mut ::agent_iac::resource::Fields {
        &mut self.fields
    }
}
///The values of a [`Role`] that are known only once it exists.
#[derive(::core::clone::Clone, ::core::fmt::Debug)]
pub struct RoleOutputs {
    #[allow(dead_code, reason = "a type without outputs never reads it")]
    address: ::agent_iac::address::Address,
}
#[allow(
    dead_code,
    clippy::wrong_self_convention,
    reason = "the names are those of the outputs"
)]
impl RoleOutputs {
    ///Its object id.
    pub fn oid(&self) -> ::agent_iac::resource::Expr<u32> {
        ::agent_iac::__private::output(&self.address, "oid")
    }
}
#[automatically_derived]
impl ::agent_iac::resource::Outputs for RoleOutputs {
    fn at(address: ::agent_iac::address::Address) -> Self {
        Self { address }
    }
}
///The declared properties of one [`Role`], with everything known.
#[derive(::core::clone::Clone, ::core::fmt::Debug, ::core::cmp::PartialEq)]
#[allow(dead_code, reason = "which of them are read is the provider's matter")]
pub struct RoleSpec {
    ///Its name.
    pub name: String,
    ///Its `member_of`.
    pub member_of: BTreeSet<String>,
    ///Its `comment`.
    pub comment: Option<String>,
}
#[automatically_derived]
impl ::agent_iac::resource::Spec for RoleSpec {
    fn from_values(
        values: &::std::collections::BTreeMap<
            ::std::string::String,
            ::agent_iac::value::Value,
        >,
    ) -> ::core::result::Result<Self, ::std::string::String> {
        ::core::result::Result::Ok(Self {
            name: ::agent_iac::__private::read(
                values,
                "name",
                <String as ::agent_iac::resource::Property>::from_value,
            )?,
            member_of: ::agent_iac::__private::read_or(
                values,
                "member_of",
                <BTreeSet<String> as ::agent_iac::resource::Property>::from_value,
                <BTreeSet<String> as ::core::default::Default>::default,
            )?,
            comment: ::agent_iac::__private::read(
                values,
                "comment",
                <Option<String> as ::agent_iac::resource::Property>::from_value,
            )?,
        })
    }
}
#[automatically_derived]
impl ::agent_iac::resource::Resource for Role {
    const TYPE: &'static ::core::primitive::str = "postgres.role";
    const KIND: ::agent_iac::schema::Kind = ::agent_iac::schema::Kind::Identity;
    const REQUIRED: &'static [&'static ::core::primitive::str] = &["name"];
    const RESOURCE: &'static ::agent_iac::schema::ResourceType = &::agent_iac::schema::ResourceType {
        name: "postgres.role",
        kind: ::agent_iac::schema::Kind::Identity,
        fields: &::agent_iac::resource::sorted_fields([
            ::agent_iac::schema::Field {
                name: "name",
                ty: <String as ::agent_iac::resource::Property>::SCHEMA,
                required: true,
                default: ::core::option::Option::None,
                key: true,
                mutability: ::agent_iac::schema::Mutability::Replace,
                doc: "Its name.",
            },
            ::agent_iac::schema::Field {
                name: "member_of",
                ty: <BTreeSet<String> as ::agent_iac::resource::Property>::SCHEMA,
                required: false,
                default: ::core::option::Option::Some(|| <BTreeSet<
                    String,
                > as ::agent_iac::resource::Property>::to_value(
                    &<BTreeSet<String> as ::core::default::Default>::default(),
                )),
                key: false,
                mutability: ::agent_iac::schema::Mutability::Update,
                doc: "",
            },
            ::agent_iac::schema::Field {
                name: "comment",
                ty: <Option<String> as ::agent_iac::resource::Property>::SCHEMA,
                required: false,
                default: ::core::option::Option::None,
                key: false,
                mutability: ::agent_iac::schema::Mutability::Update,
                doc: "",
            },
        ]),
        outputs: &::agent_iac::resource::sorted_outputs([
            ::agent_iac::schema::Output {
                name: "oid",
                ty: <u32 as ::agent_iac::resource::Property>::SCHEMA,
                doc: "Its object id.",
            },
        ]),
        access: ::core::option::Option::None,
        check: ::core::option::Option::None,
        doc: "A role.",
    };
    type Builder = RoleBuilder;
    type Outputs = RoleOutputs;
    type Spec = RoleSpec;
    fn builder() -> RoleBuilder {
        #[allow(unused_mut, reason = "a type may have no defaults")]
        let mut builder = <RoleBuilder as ::core::default::Default>::default();
        ::agent_iac::resource::Builder::fields_mut(&mut builder)
            .set(
                "member_of",
                <BTreeSet<
                    String,
                > as ::agent_iac::resource::Property>::to_node(
                    &<BTreeSet<String> as ::core::default::Default>::default(),
                ),
            );
        builder
    }
    fn from_values(
        values: &::std::collections::BTreeMap<
            ::std::string::String,
            ::agent_iac::value::Value,
        >,
    ) -> ::core::result::Result<Self, ::std::string::String> {
        ::core::result::Result::Ok(Self {
            name: ::agent_iac::__private::read(
                values,
                "name",
                <String as ::agent_iac::resource::Property>::from_value,
            )?,
            member_of: ::agent_iac::__private::read_or(
                values,
                "member_of",
                <BTreeSet<String> as ::agent_iac::resource::Property>::from_value,
                <BTreeSet<String> as ::core::default::Default>::default,
            )?,
            comment: ::agent_iac::__private::read(
                values,
                "comment",
                <Option<String> as ::agent_iac::resource::Property>::from_value,
            )?,
            oid: ::agent_iac::__private::read(
                values,
                "oid",
                <u32 as ::agent_iac::resource::Property>::from_value,
            )?,
        })
    }
    fn to_values(
        &self,
    ) -> ::std::collections::BTreeMap<::std::string::String, ::agent_iac::value::Value> {
        ::agent_iac::__private::entries([
            ("name", <String as ::agent_iac::resource::Property>::to_value(&self.name)),
            (
                "member_of",
                <BTreeSet<
                    String,
                > as ::agent_iac::resource::Property>::to_value(&self.member_of),
            ),
            (
                "comment",
                <Option<
                    String,
                > as ::agent_iac::resource::Property>::to_value(&self.comment),
            ),
            ("oid", <u32 as ::agent_iac::resource::Property>::to_value(&self.oid)),
        ])
    }
}
