//! Typed expressions: what rustc checks in a declaration.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    marker::PhantomData,
    ops::Deref,
};

use super::{Node, Outputs, Property, Resource};
use crate::{address::Address, schema::Type, value::Value};

/// Opens a reference inside text; private-use plane 15, refused in all text
/// from outside (see [`crate::address::is_printable`]).
const OPEN: char = '\u{f1ac0}';
/// Closes it.
const CLOSE: char = '\u{f1ac1}';

/// An expression of type `T`: a value, or a reference to one that is known
/// only after apply.
pub struct Expr<T> {
    node: Node,
    of: PhantomData<fn() -> T>,
}

impl<T> Expr<T> {
    /// Takes a node as an expression of this type.
    #[doc(hidden)]
    pub fn from_node(node: Node) -> Self {
        Self { node, of: PhantomData }
    }

    /// The expression as data.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The expression as data, taken out.
    pub fn into_node(self) -> Node {
        self.node
    }
}

impl<T> Clone for Expr<T> {
    fn clone(&self) -> Self {
        Self::from_node(self.node.clone())
    }
}

// Both forms write a token that `String::to_node` finds again, so that an
// output inside `format!` stays a reference, whichever braces are used.
impl<T> fmt::Display for Expr<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_token(&self.node, f)
    }
}

impl<T> fmt::Debug for Expr<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_token(&self.node, f)
    }
}

fn write_token(node: &Node, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    // A width or a precision would cut or pad a value that is not there yet.
    if f.width().is_some() || f.precision().is_some() {
        return Err(fmt::Error);
    }
    match node {
        Node::Output { address, field } => write!(f, "{OPEN}{address}#{field}{CLOSE}"),
        Node::Known(Value::Text(text)) => f.write_str(text),
        Node::Known(value) => write!(f, "{value}"),
        Node::Concat(parts) => parts.iter().try_for_each(|part| write_token(part, f)),
        Node::Link(_) | Node::List(_) | Node::Map(_) => Err(fmt::Error),
    }
}

/// Splits text into what is known and the references inside it.
fn text_to_node(text: &str) -> Node {
    if !text.contains(OPEN) {
        return Node::Known(Value::from(text));
    }
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(OPEN) {
        if !before.is_empty() {
            parts.push(Node::Known(Value::from(before)));
        }
        let Some((token, remaining)) = after.split_once(CLOSE) else {
            parts.push(Node::Known(Value::Text(format!("{OPEN}{after}"))));
            rest = "";
            break;
        };
        // Text that was changed on its way (`.to_uppercase()`) names nothing;
        // the blueprint then refuses what is left of the token.
        let reference = token
            .rsplit_once('#')
            .and_then(|(address, field)| Some((address.parse().ok()?, field.to_owned())));
        parts.push(match reference {
            Some((address, field)) => Node::Output { address, field },
            None => Node::Known(Value::Text(format!("{OPEN}{token}{CLOSE}"))),
        });
        rest = remaining;
    }
    if !rest.is_empty() {
        parts.push(Node::Known(Value::from(rest)));
    }
    match parts.len() {
        1 => parts.remove(0),
        _ => Node::Concat(parts),
    }
}

/// A typed reference to a sibling resource, or to one of another agent.
///
/// It dereferences to the type's outputs: `account.id()`.
pub struct Ref<R: Resource> {
    address: Address,
    outputs: R::Outputs,
}

impl<R: Resource> Ref<R> {
    /// Refers to the resource at `address`, whoever declares it. A handle gives
    /// the same with its type checked: `handle.account()`.
    pub fn to(address: Address) -> Self {
        let outputs = R::Outputs::at(address.clone());
        Self { address, outputs }
    }

    /// The address that it refers to.
    pub fn address(&self) -> &Address {
        &self.address
    }
}

impl<R: Resource> Deref for Ref<R> {
    type Target = R::Outputs;

    fn deref(&self) -> &R::Outputs {
        &self.outputs
    }
}

impl<R: Resource> Clone for Ref<R> {
    fn clone(&self) -> Self {
        Self::to(self.address.clone())
    }
}

impl<R: Resource> fmt::Debug for Ref<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ref({})", self.address)
    }
}

/// A property that points to another resource.
///
/// In a live resource it holds the target's id in its system.
pub struct Link<R> {
    id: String,
    to: PhantomData<fn() -> R>,
}

impl<R: Resource> Link<R> {
    /// Points to an object by its id in its system.
    pub fn id(id: impl Into<String>) -> Self {
        Self { id: id.into(), to: PhantomData }
    }

    /// The target's id in its system.
    pub fn target(&self) -> &str {
        &self.id
    }
}

impl<R> Clone for Link<R> {
    fn clone(&self) -> Self {
        Self { id: self.id.clone(), to: PhantomData }
    }
}

impl<R> PartialEq for Link<R> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl<R> Eq for Link<R> {}

impl<R: Resource> fmt::Debug for Link<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({} {:?})", R::TYPE, self.id)
    }
}

impl<R: Resource> Property for Link<R> {
    const SCHEMA: Type = Type::Link(R::TYPE);

    fn to_value(&self) -> Value {
        Value::Text(self.id.clone())
    }

    fn from_value(value: &Value) -> Option<Self> {
        value.as_text().map(Self::id)
    }
}

/// What a key of a declaration takes for a property of type `T`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not fit a property of type `{T}`",
    label = "expected `{T}`, an output of that type, or a reference to it"
)]
pub trait IntoExpr<T> {
    /// The expression.
    fn into_expr(self) -> Expr<T>;
}

fn expr_of<T: Property>(value: &T) -> Expr<T> {
    Expr::from_node(value.to_node())
}

// A value without a type fits wherever its shape does, and the blueprint says
// where it does not.
#[diagnostic::do_not_recommend]
impl<T: Property> IntoExpr<T> for Value {
    fn into_expr(self) -> Expr<T> {
        Expr::from_node(Node::Known(self))
    }
}

// Which types fit, the trait itself says in words: a list of these
// implementations would only hide it.
#[diagnostic::do_not_recommend]
impl<T: Property> IntoExpr<T> for T {
    fn into_expr(self) -> Expr<T> {
        expr_of(&self)
    }
}

#[diagnostic::do_not_recommend]
impl<T: Property> IntoExpr<T> for &T {
    fn into_expr(self) -> Expr<T> {
        expr_of(self)
    }
}

#[diagnostic::do_not_recommend]
impl<T: Property> IntoExpr<T> for &&T {
    fn into_expr(self) -> Expr<T> {
        expr_of(*self)
    }
}

#[diagnostic::do_not_recommend]
impl<T> IntoExpr<T> for Expr<T> {
    fn into_expr(self) -> Expr<T> {
        self
    }
}

#[diagnostic::do_not_recommend]
impl<T> IntoExpr<T> for &Expr<T> {
    fn into_expr(self) -> Expr<T> {
        self.clone()
    }
}

#[diagnostic::do_not_recommend]
impl IntoExpr<String> for &str {
    fn into_expr(self) -> Expr<String> {
        Expr::from_node(text_to_node(self))
    }
}

#[diagnostic::do_not_recommend]
impl IntoExpr<Option<String>> for &str {
    fn into_expr(self) -> Expr<Option<String>> {
        Expr::from_node(text_to_node(self))
    }
}

#[diagnostic::do_not_recommend]
impl<T: Property> IntoExpr<Option<T>> for T {
    fn into_expr(self) -> Expr<Option<T>> {
        Expr::from_node(self.to_node())
    }
}

#[diagnostic::do_not_recommend]
impl<T: Property> IntoExpr<Option<T>> for &T {
    fn into_expr(self) -> Expr<Option<T>> {
        Expr::from_node(self.to_node())
    }
}

#[diagnostic::do_not_recommend]
impl<T> IntoExpr<Option<T>> for Expr<T> {
    fn into_expr(self) -> Expr<Option<T>> {
        Expr::from_node(self.node)
    }
}

#[diagnostic::do_not_recommend]
impl<T> IntoExpr<Option<T>> for &Expr<T> {
    fn into_expr(self) -> Expr<Option<T>> {
        Expr::from_node(self.node.clone())
    }
}

#[diagnostic::do_not_recommend]
impl<R: Resource> IntoExpr<Option<Link<R>>> for Ref<R> {
    fn into_expr(self) -> Expr<Option<Link<R>>> {
        Expr::from_node(Node::Link(self.address))
    }
}

#[diagnostic::do_not_recommend]
impl<R: Resource> IntoExpr<Option<Link<R>>> for &Ref<R> {
    fn into_expr(self) -> Expr<Option<Link<R>>> {
        Expr::from_node(Node::Link(self.address.clone()))
    }
}

/// Puts items that are already nodes into one list.
fn list_of(nodes: Vec<Node>) -> Node {
    if nodes.iter().all(|node| matches!(node, Node::Known(_))) {
        Node::Known(nodes.iter().filter_map(Node::known).collect())
    } else {
        Node::List(nodes)
    }
}

#[diagnostic::do_not_recommend]
impl<T, U: IntoExpr<T>, const N: usize> IntoExpr<BTreeSet<T>> for [U; N] {
    fn into_expr(self) -> Expr<BTreeSet<T>> {
        Expr::from_node(list_of(self.into_iter().map(|item| item.into_expr().node).collect()))
    }
}

#[diagnostic::do_not_recommend]
impl<T, U: IntoExpr<T>, const N: usize> IntoExpr<Vec<T>> for [U; N] {
    fn into_expr(self) -> Expr<Vec<T>> {
        Expr::from_node(list_of(self.into_iter().map(|item| item.into_expr().node).collect()))
    }
}

#[diagnostic::do_not_recommend]
impl<R: Resource> IntoExpr<Link<R>> for Ref<R> {
    fn into_expr(self) -> Expr<Link<R>> {
        Expr::from_node(Node::Link(self.address))
    }
}

#[diagnostic::do_not_recommend]
impl<R: Resource> IntoExpr<Link<R>> for &Ref<R> {
    fn into_expr(self) -> Expr<Link<R>> {
        Expr::from_node(Node::Link(self.address.clone()))
    }
}

impl Property for String {
    const SCHEMA: Type = Type::Text;

    fn to_value(&self) -> Value {
        Value::from(self.as_str())
    }

    fn from_value(value: &Value) -> Option<Self> {
        value.as_text().map(str::to_owned)
    }

    fn to_node(&self) -> Node {
        text_to_node(self)
    }
}

impl Property for bool {
    const SCHEMA: Type = Type::Bool;

    fn to_value(&self) -> Value {
        Value::Bool(*self)
    }

    fn from_value(value: &Value) -> Option<Self> {
        value.as_bool()
    }
}

macro_rules! whole_numbers {
    ($($number:ty),*) => {$(
        impl Property for $number {
            const SCHEMA: Type = Type::Int;

            fn to_value(&self) -> Value {
                Value::Int(i64::from(*self))
            }

            fn from_value(value: &Value) -> Option<Self> {
                value.as_int()?.try_into().ok()
            }
        }
    )*};
}

// 64-bit numbers are left out: JSON cannot carry all of them.
whole_numbers!(u8, u16, u32, i8, i16, i32);

impl<T: Property> Property for Option<T> {
    const SCHEMA: Type = Type::Option(&T::SCHEMA);

    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::Null, Property::to_value)
    }

    fn from_value(value: &Value) -> Option<Self> {
        if value.is_null() { Some(None) } else { T::from_value(value).map(Some) }
    }

    fn to_node(&self) -> Node {
        self.as_ref().map_or(Node::Known(Value::Null), Property::to_node)
    }
}

impl<T: Property> Property for Vec<T> {
    const SCHEMA: Type = Type::List(&T::SCHEMA);

    fn to_value(&self) -> Value {
        Value::List(self.iter().map(Property::to_value).collect())
    }

    fn from_value(value: &Value) -> Option<Self> {
        value.as_list()?.iter().map(T::from_value).collect()
    }

    fn to_node(&self) -> Node {
        list_of(self.iter().map(Property::to_node).collect())
    }
}

impl<T: Property + Ord> Property for BTreeSet<T> {
    const SCHEMA: Type = Type::Set(&T::SCHEMA);

    fn to_value(&self) -> Value {
        Value::List(self.iter().map(Property::to_value).collect()).into_set()
    }

    fn from_value(value: &Value) -> Option<Self> {
        value.as_list()?.iter().map(T::from_value).collect()
    }

    fn to_node(&self) -> Node {
        list_of(self.iter().map(Property::to_node).collect())
    }
}

impl<T: Property> Property for BTreeMap<String, T> {
    const SCHEMA: Type = Type::Map(&T::SCHEMA);

    fn to_value(&self) -> Value {
        Value::Map(self.iter().map(|(key, item)| (key.clone(), item.to_value())).collect())
    }

    fn from_value(value: &Value) -> Option<Self> {
        value
            .as_map()?
            .iter()
            .map(|(key, item)| Some((key.clone(), T::from_value(item)?)))
            .collect()
    }

    fn to_node(&self) -> Node {
        Node::map(self.iter().map(|(key, item)| (key.clone(), item.to_node())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::world::Account;

    fn account() -> Ref<Account> {
        Ref::to(r#"reader["e#u"].account"#.parse().unwrap())
    }

    fn node(text: &str) -> Node {
        IntoExpr::<String>::into_expr(text).into_node()
    }

    fn output() -> Node {
        account().id().into_node()
    }

    #[test]
    fn an_output_inside_text_stays_a_reference() {
        let id = account().id();
        assert_eq!(node(&format!("{id}")), output(), "alone it is the output itself");
        assert_eq!(node(&format!("{id:?}")), output(), "whichever braces are used");
        let text = node(&format!("log-of-{id}/{}", account().secret_hint()));
        assert_eq!(
            text.shown(),
            r#""log-of-(reader["e#u"].account.id)/(reader["e#u"].account.secret_hint)""#
        );
        assert_eq!(text.addresses().len(), 1);
        assert_eq!(node("plain"), Node::Known("plain".into()));
    }

    #[test]
    fn text_of_known_parts_is_known() {
        let known = Expr::<String>::from_node(Node::Known("eu".into()));
        assert_eq!(node(&format!("a-{known}")), Node::Known("a-eu".into()));
        let number = Expr::<u32>::from_node(Node::Known(Value::from(7u32)));
        assert_eq!(node(&format!("a-{number}")), Node::Known("a-7".into()));
    }

    #[test]
    fn text_that_was_changed_on_its_way_is_kept_as_it_is_to_be_refused() {
        for changed in [
            format!("{}", account().id()).to_uppercase(),
            format!("{}", account().id()).replace('.', "-"),
            format!("{}", account().id()).trim_end_matches(CLOSE).to_owned(),
        ] {
            let node = node(&changed);
            assert!(node.addresses().is_empty(), "{changed:?}");
            assert!(node.shown().contains(OPEN), "{changed:?}: its marks are left over");
        }
    }

    #[test]
    fn a_width_or_a_precision_is_refused_for_it_would_cut_what_is_not_there() {
        use std::fmt::Write as _;
        let mut text = String::new();
        assert!(write!(text, "{:>40}", account().id()).is_err());
        assert!(write!(text, "{:.3}", account().id()).is_err());
    }

    #[test]
    fn a_list_with_one_unknown_item_is_unknown_and_a_map_too() {
        let list: Expr<Vec<String>> =
            [account().id(), Expr::from_node(Node::Known("b".into()))].into_expr();
        assert!(list.node().known().is_none());
        assert_eq!(list.node().addresses().len(), 1);
        let map = BTreeMap::from([("a".to_owned(), format!("{}", account().id()))]);
        assert_eq!(map.to_node(), Node::Map(BTreeMap::from([("a".to_owned(), output())])));
    }

    #[test]
    fn text_resolves_part_by_part() {
        struct One;
        impl super::super::Lookup for One {
            fn output(&self, address: &Address, field: &str) -> Option<Value> {
                (address == account().address() && field == "id").then(|| "7".into())
            }
            fn id(&self, _: &Address) -> Option<String> {
                None
            }
        }
        assert_eq!(node(&format!("log-{}", account().id())).resolve(&One), Ok("log-7".into()));
        let unknown = node(&format!("log-{}", account().secret_hint())).resolve(&One).unwrap_err();
        assert_eq!(unknown.field.as_deref(), Some("secret_hint"));
        let link = Node::Link(account().address().clone()).resolve(&One).unwrap_err();
        assert_eq!(link.field, None);
    }
}
