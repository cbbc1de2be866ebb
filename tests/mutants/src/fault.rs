// SPDX-License-Identifier: GPL-2.0

//! The faults of a source file: each replaces one token, one statement or one body.
//!
//! Most can be planted all at once, each behind a switch: the part of the source with the fault
//! becomes an `if` on the switch, with the changed part and the original part as its branches.
//! Faults in constants, patterns and types have no switch, as `if` is not allowed there.

use anyhow::{Context, Result};
use proc_macro2::Span;
use std::{collections::HashMap, ops::Range};
use syn::{
    spanned::Spanned,
    visit::{self, Visit},
    BinOp, Expr, ImplItemFn, ItemFn, ItemImpl, Meta, RangeLimits, ReturnType, Signature, Stmt,
    Type, UnOp,
};

/// A change of one file.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The file, relative to the project's top folder.
    pub file: String,
    /// The number of the line where the change begins.
    pub line: usize,
    /// That line, without surrounding white space.
    pub text: String,
    /// The range of bytes that is replaced.
    range: Range<usize>,
    /// The replacement.
    to: String,
    /// The name of the change: `from -> to`, with a number if the line has others of that name.
    pub change: String,
    /// The part that a switch encloses, if there may be one.
    pub switch: Option<Switch>,
}

/// The part of the source that a switch encloses.
#[derive(Clone, Debug, PartialEq)]
pub enum Switch {
    /// The expression in this range of bytes.
    Expression(Range<usize>),
    /// The statement in this range of bytes, which the fault drops.
    Statement(Range<usize>),
    /// The value that the function with a body at this byte returns.
    Body(usize, &'static str),
}

impl Switch {
    fn range(&self) -> Range<usize> {
        match self {
            Self::Expression(range) | Self::Statement(range) => range.clone(),
            Self::Body(at, _) => *at..*at,
        }
    }
}

impl Fault {
    /// Returns the source with the fault.
    pub fn plant(&self, source: &str) -> String {
        let mut planted = source.to_owned();
        planted.replace_range(self.range.clone(), &self.to);
        planted
    }

    /// Returns the name for messages.
    pub fn name(&self) -> String {
        format!("{}:{}: {}", self.file, self.line, self.change)
    }
}

/// The position of a fault in a source with many: the number of the fault, and the range of bytes.
pub type Part = (usize, Range<usize>);

/// Returns the source of a file with all of these faults, each behind a switch of its number, and
/// their positions.
pub fn plant_all(source: &str, faults: &[(usize, &Fault)]) -> (String, Vec<Part>) {
    let mut switches: Vec<_> = faults
        .iter()
        .filter_map(|(number, fault)| Some((*number, *fault, fault.switch.as_ref()?)))
        .collect();
    // An inner part comes after its outer part.
    switches.sort_by_key(|(_, _, switch)| {
        let range = switch.range();
        (range.start, std::cmp::Reverse(range.end))
    });
    let mut planted = Planted {
        source,
        text: String::new(),
        parts: Vec::new(),
    };
    planted.add(0..source.len(), &switches);
    (planted.text, planted.parts)
}

struct Planted<'a> {
    source: &'a str,
    text: String,
    parts: Vec<Part>,
}

impl Planted<'_> {
    /// Adds a part of the source, with the switches inside it.
    fn add(&mut self, range: Range<usize>, mut switches: &[(usize, &Fault, &Switch)]) {
        let mut at = range.start;
        while let Some(((number, fault, switch), rest)) = switches.split_first() {
            let part = switch.range();
            let inner = rest.partition_point(|(.., inner)| inner.range().end <= part.end);
            let inner = rest[..inner]
                .iter()
                .position(|(.., inner)| inner.range().start >= part.end)
                .unwrap_or(inner);
            self.text += &self.source[at..part.start];
            let begin = self.text.len();
            let is_on = format!("crate::planted({number})");
            match switch {
                Switch::Expression(_) => {
                    let mut with = self.source[part.clone()].to_owned();
                    let range = &fault.range;
                    with.replace_range(range.start - part.start..range.end - part.start, &fault.to);
                    self.text += &format!("(if {is_on} {{ {with} }} else {{ ");
                    self.add(part.clone(), &rest[..inner]);
                    self.text += " })";
                }
                Switch::Statement(_) => {
                    self.text += &format!("if !{is_on} {{ ");
                    self.add(part.clone(), &rest[..inner]);
                    self.text += " }";
                }
                Switch::Body(_, value) => {
                    self.text += &format!(" if {is_on} {{ return {value}; }} ");
                    self.add(part.clone(), &rest[..inner]);
                }
            }
            self.parts.push((*number, begin..self.text.len()));
            at = part.end;
            switches = &rest[inner..];
        }
        self.text += &self.source[at..range.end];
    }
}

/// Returns all faults of a source file, in the order of its lines.
pub fn all(file: &str, source: &str) -> Result<Vec<Fault>> {
    let tree = syn::parse_file(source).with_context(|| format!("cannot parse {file}"))?;
    let mut finder = Finder {
        file,
        source,
        found: Vec::new(),
        fixed: 0,
    };
    finder.visit_file(&tree);
    let mut found = finder.found;
    found.sort_by_key(|fault| (fault.range.start, fault.range.end));
    // A line may have the same change more than once.
    let mut seen = HashMap::new();
    for fault in &mut found {
        let count = seen
            .entry((fault.line, fault.change.clone()))
            .and_modify(|count| *count += 1)
            .or_insert(1);
        if *count > 1 {
            fault.change += &format!(" ({count})");
        }
    }
    Ok(found)
}

struct Finder<'a> {
    file: &'a str,
    source: &'a str,
    found: Vec<Fault>,
    /// The nesting depth in constants, patterns and types.
    fixed: usize,
}

/// Methods and their replacements.
const METHODS: &[(&str, &str)] = &[
    ("min", "max"),
    ("max", "min"),
    ("checked_add", "checked_sub"),
    ("checked_sub", "checked_add"),
    ("checked_mul", "checked_add"),
    ("saturating_add", "saturating_sub"),
    ("saturating_sub", "wrapping_sub"),
    ("saturating_mul", "wrapping_add"),
    ("wrapping_add", "wrapping_sub"),
    ("wrapping_sub", "wrapping_add"),
    ("div_ceil", "wrapping_div"),
    ("is_some", "is_none"),
    ("is_none", "is_some"),
    ("is_some_and", "is_none_or"),
    ("is_ok", "is_err"),
    ("is_err", "is_ok"),
    ("any", "all"),
    ("all", "any"),
    ("first", "last"),
    ("last", "first"),
    ("take", "skip"),
    ("skip", "take"),
    ("and", "or"),
    ("or", "and"),
    ("position", "rposition"),
    ("intersects", "contains"),
    ("leading_zeros", "trailing_zeros"),
    ("trailing_zeros", "leading_zeros"),
    ("next_power_of_two", "count_ones"),
];

/// Returns the replacements of an operator.
fn others(op: &BinOp) -> &'static [&'static str] {
    match op {
        BinOp::Add(_) => &["-"],
        BinOp::Sub(_) => &["+"],
        BinOp::Mul(_) => &["/"],
        BinOp::Div(_) => &["*"],
        BinOp::Rem(_) => &["/"],
        BinOp::And(_) => &["||"],
        BinOp::Or(_) => &["&&"],
        BinOp::BitXor(_) => &["|"],
        BinOp::BitAnd(_) => &["|"],
        BinOp::BitOr(_) => &["&"],
        BinOp::Shl(_) => &[">>"],
        BinOp::Shr(_) => &["<<"],
        BinOp::Eq(_) => &["!="],
        BinOp::Ne(_) => &["=="],
        BinOp::Lt(_) => &["<=", ">="],
        BinOp::Le(_) => &["<", ">"],
        BinOp::Ge(_) => &[">", "<"],
        BinOp::Gt(_) => &[">=", "<="],
        BinOp::AddAssign(_) => &["-="],
        BinOp::SubAssign(_) => &["+="],
        BinOp::MulAssign(_) => &["/="],
        BinOp::DivAssign(_) => &["*="],
        BinOp::BitXorAssign(_) => &["|="],
        BinOp::BitAndAssign(_) => &["|="],
        BinOp::BitOrAssign(_) => &["&="],
        BinOp::ShlAssign(_) => &[">>="],
        BinOp::ShrAssign(_) => &["<<="],
        _ => &[],
    }
}

impl Finder<'_> {
    /// Adds a fault of an expression.
    fn replace(&mut self, span: Span, to: impl Into<String>, within: &impl Spanned) {
        let within = within.span().byte_range();
        self.push(span, to, Some(Switch::Expression(within)));
    }

    /// Visits code that is not executed.
    fn fixed(&mut self, visit: impl FnOnce(&mut Self)) {
        self.fixed += 1;
        visit(self);
        self.fixed -= 1;
    }

    fn push(&mut self, span: Span, to: impl Into<String>, switch: Option<Switch>) {
        let (range, to) = (span.byte_range(), to.into());
        let start = self.source[..range.start]
            .rfind('\n')
            .map_or(0, |at| at + 1);
        let text = self.source[start..].lines().next().unwrap_or_default();
        let short = |what: &str| match what.split_whitespace().collect::<Vec<_>>().join(" ") {
            what if what.is_empty() => "nothing".to_owned(),
            what if what.chars().count() > 60 => what.chars().take(60).collect::<String>() + "...",
            what => what,
        };
        self.found.push(Fault {
            file: self.file.to_owned(),
            line: self.source[..start].lines().count() + 1,
            text: text.trim().to_owned(),
            change: format!("{} -> {}", short(&self.source[range.clone()]), short(&to)),
            range,
            to,
            switch: switch.filter(|_| self.fixed == 0),
        });
    }

    fn negate(&mut self, condition: &Expr) {
        // `if let` has no opposite.
        if !matches!(condition, Expr::Let(_)) {
            let text = self.source[condition.span().byte_range()].to_owned();
            self.replace(condition.span(), format!("!({text})"), condition);
        }
    }

    /// Adds the constant return values of a function.
    fn body(&mut self, signature: &Signature, body: Span) {
        let begin = body.byte_range().start + 1;
        let ReturnType::Type(_, returns) = &signature.output else {
            return self.push(body, "{}", Some(Switch::Body(begin, "")));
        };
        let Type::Path(path) = &**returns else {
            return;
        };
        let Some(last) = path.path.segments.last() else {
            return;
        };
        let name = last.ident.to_string();
        let nothing = returns.span().byte_range();
        let values: &[&'static str] = match name.as_str() {
            "bool" => &["true", "false"],
            "u8" | "u16" | "u32" | "u64" | "usize" => &["0", "1"],
            "Option" => &["None"],
            "Result" if self.source[nothing].starts_with("Result<(),") => &["Ok(())"],
            _ => &[],
        };
        for value in values {
            let switch = Switch::Body(begin, value);
            self.push(body, format!("{{ {value} }}"), Some(switch));
        }
    }
}

/// Returns whether the host does not compile a part of the source.
fn is_elsewhere(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) => {
            list.path.is_ident("test")
                || list.path.is_ident("cfg")
                    && ["MODULE", "CONFIG_KUNIT", "test"]
                        .contains(&list.tokens.to_string().as_str())
        }
        _ => false,
    })
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes: &[_] = match item {
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            // An assertion about constants that the compiler checks.
            syn::Item::Const(item) if item.ident == "_" => return,
            syn::Item::Const(item) => &item.attrs,
            _ => &[],
        };
        if is_elsewhere(attributes) {
            return;
        }
        match item {
            syn::Item::Const(_) | syn::Item::Static(_) | syn::Item::Enum(_) => {
                self.fixed(|finder| visit::visit_item(finder, item));
            }
            _ => visit::visit_item(self, item),
        }
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.fixed(|finder| visit::visit_impl_item_const(finder, item));
    }

    fn visit_expr_const(&mut self, expr: &'ast syn::ExprConst) {
        self.fixed(|finder| visit::visit_expr_const(finder, expr));
    }

    fn visit_expr_repeat(&mut self, expr: &'ast syn::ExprRepeat) {
        self.visit_expr(&expr.expr);
        self.fixed(|finder| finder.visit_expr(&expr.len));
    }

    fn visit_type(&mut self, of: &'ast Type) {
        self.fixed(|finder| visit::visit_type(finder, of));
    }

    fn visit_generic_argument(&mut self, argument: &'ast syn::GenericArgument) {
        self.fixed(|finder| visit::visit_generic_argument(finder, argument));
    }

    fn visit_pat(&mut self, pat: &'ast syn::Pat) {
        self.fixed(|finder| visit::visit_pat(finder, pat));
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        // Messages are not tested word by word.
        let is_display = item.trait_.as_ref().is_some_and(|(_, path, _)| {
            path.segments
                .last()
                .is_some_and(|last| last.ident == "Display")
        });
        if !is_display {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.fixed += usize::from(item.sig.constness.is_some());
        self.body(&item.sig, item.block.span());
        visit::visit_item_fn(self, item);
        self.fixed -= usize::from(item.sig.constness.is_some());
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        if !is_elsewhere(&item.attrs) {
            self.fixed += usize::from(item.sig.constness.is_some());
            self.body(&item.sig, item.block.span());
            visit::visit_impl_item_fn(self, item);
            self.fixed -= usize::from(item.sig.constness.is_some());
        }
    }

    fn visit_stmt(&mut self, stmt: &'ast Stmt) {
        let is_droppable = |expr: &Expr| {
            matches!(
                expr,
                Expr::Assign(_)
                    | Expr::Binary(_)
                    | Expr::Break(_)
                    | Expr::Call(_)
                    | Expr::Continue(_)
                    | Expr::MethodCall(_)
                    | Expr::Return(_)
                    | Expr::Try(_)
            )
        };
        match stmt {
            Stmt::Expr(expr, Some(_)) if is_droppable(expr) => {
                let switch = Switch::Statement(stmt.span().byte_range());
                self.push(stmt.span(), "", Some(switch));
            }
            _ => {}
        }
        visit::visit_stmt(self, stmt);
    }

    fn visit_expr_binary(&mut self, expr: &'ast syn::ExprBinary) {
        for other in others(&expr.op) {
            self.replace(expr.op.span(), *other, expr);
        }
        visit::visit_expr_binary(self, expr);
    }

    fn visit_expr_unary(&mut self, expr: &'ast syn::ExprUnary) {
        if let UnOp::Not(not) = &expr.op {
            self.replace(not.span(), "", expr);
        }
        visit::visit_expr_unary(self, expr);
    }

    fn visit_expr_if(&mut self, expr: &'ast syn::ExprIf) {
        self.negate(&expr.cond);
        visit::visit_expr_if(self, expr);
    }

    fn visit_expr_while(&mut self, expr: &'ast syn::ExprWhile) {
        self.negate(&expr.cond);
        visit::visit_expr_while(self, expr);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if let Some((_, guard)) = &arm.guard {
            self.negate(guard);
        }
        visit::visit_arm(self, arm);
    }

    fn visit_expr_range(&mut self, expr: &'ast syn::ExprRange) {
        // The two range operators have different types.
        if expr.end.is_some() {
            match &expr.limits {
                RangeLimits::HalfOpen(dots) => self.push(dots.span(), "..=", None),
                RangeLimits::Closed(dots) => self.push(dots.span(), "..", None),
            }
        }
        visit::visit_expr_range(self, expr);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        for (name, other) in METHODS {
            if call.method == name {
                self.replace(call.method.span(), *other, call);
            }
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_lit_int(&mut self, literal: &'ast syn::LitInt) {
        if let Ok(value) = literal.base10_parse::<u64>() {
            let suffix = literal.suffix();
            for other in [value.checked_add(1), value.checked_sub(1)] {
                if let Some(other) = other {
                    self.replace(literal.span(), format!("{other}{suffix}"), literal);
                }
            }
        }
    }

    fn visit_lit_bool(&mut self, literal: &'ast syn::LitBool) {
        self.replace(literal.span(), (!literal.value).to_string(), literal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the changes of a piece of source, each with the resulting source.
    fn changes(source: &str) -> Vec<(String, String)> {
        let faults = all("file.rs", source).unwrap();
        let pair = |fault: &Fault| (fault.change.clone(), fault.plant(source));
        faults.iter().map(pair).collect()
    }

    fn has(source: &str, change: &str, planted: &str) -> bool {
        changes(source).contains(&(change.to_owned(), planted.to_owned()))
    }

    #[test]
    fn a_comparison_is_turned_and_moved_by_one() {
        let source = "const X: bool = A < B;";
        assert_eq!(changes(source).len(), 2);
        assert!(has(source, "< -> <=", "const X: bool = A <= B;"));
        assert!(has(source, "< -> >=", "const X: bool = A >= B;"));
    }

    #[test]
    fn a_number_is_off_by_one_and_keeps_its_type() {
        let source = "const X: [u8; N] = f(0x10u8, 0);";
        assert_eq!(changes(source).len(), 3);
        assert!(has(
            source,
            "0x10u8 -> 17u8",
            "const X: [u8; N] = f(17u8, 0);"
        ));
        assert!(has(
            source,
            "0x10u8 -> 15u8",
            "const X: [u8; N] = f(15u8, 0);"
        ));
        assert!(has(source, "0 -> 1", "const X: [u8; N] = f(0x10u8, 1);"));
    }

    #[test]
    fn conditions_are_negated_but_not_patterns() {
        let source = "fn f() { if a { b } else if let C = d { e } }";
        assert!(has(source, "a -> !(a)", &source.replace("if a", "if !(a)")));
        assert_eq!(changes(source).len(), 2);
        let source = "fn f() -> T { match a { _ if b => c, _ => d } }";
        assert!(has(source, "b -> !(b)", &source.replace("if b", "if !(b)")));
        assert_eq!(changes(source).len(), 1);
    }

    #[test]
    fn statements_are_dropped_and_bodies_replaced() {
        let source = "fn f() -> bool { a(); let b = c; d.e = b; b }";
        let planted: Vec<_> = changes(source).into_iter().map(|it| it.1).collect();
        assert_eq!(
            planted,
            [
                "fn f() -> bool { true }",
                "fn f() -> bool { false }",
                "fn f() -> bool {  let b = c; d.e = b; b }",
                "fn f() -> bool { a(); let b = c;  b }",
            ]
        );
    }

    #[test]
    fn many_faults_are_planted_behind_switches() {
        let source = "fn f() -> bool { g(a < b); c && d }";
        let faults = all("file.rs", source).unwrap();
        let named = |change: &str| faults.iter().find(|it| it.change == change).unwrap();
        let some = [
            (1, named("&& -> ||")),
            (2, named("< -> <=")),
            (3, named("< -> >=")),
            (4, named("g(a < b); -> nothing")),
            (5, named("{ g(a < b); c && d } -> { true }")),
        ];
        let (planted, parts) = plant_all(source, &some);
        let expected = "fn f() -> bool { if crate::planted(5) { return true; }  \
            if !crate::planted(4) { g((if crate::planted(2) { a <= b } else { \
            (if crate::planted(3) { a >= b } else { a < b }) })); } \
            (if crate::planted(1) { c || d } else { c && d }) }";
        assert_eq!(planted, expected);
        let part = |number| {
            parts
                .iter()
                .find(|part| part.0 == number)
                .unwrap()
                .1
                .clone()
        };
        assert_eq!(
            &planted[part(3)],
            "(if crate::planted(3) { a >= b } else { a < b })"
        );
        assert!(part(4).contains(&part(2).start) && part(2).contains(&part(3).start));
    }

    #[test]
    fn code_that_is_not_executed_has_no_switch() {
        let source = "
            const A: u8 = 1;
            const fn f() -> u8 { 2 }
            fn g(x: [u8; 3]) -> T { match x { 4 => [5; 6], _ => h::<7>(8..9) } }";
        let faults = all("file.rs", source).unwrap();
        let of = |from: &str| {
            let change = |fault: &&Fault| fault.change.starts_with(&format!("{from} -> "));
            faults.iter().find(change).unwrap().switch.is_some()
        };
        for from in ["1", "{ 2 }", "2", "3", "4", "6", "7", ".."] {
            assert!(!of(from), "{from}");
        }
        for from in ["5", "8", "9"] {
            assert!(of(from), "{from}");
        }
    }

    #[test]
    fn code_that_the_host_does_not_compile_has_no_faults() {
        let source = "
            #[cfg(MODULE)]
            const A: u8 = 1;
            const _: () = assert!(A == 1);
            impl fmt::Display for T { fn fmt(&self) -> bool { 1 == 2 } }
            impl T { #[cfg(MODULE)] fn g() {} }
            /// 1 == 2
            #[cfg(not(MODULE))]
            const B: u8 = 3;";
        let faults = all("file.rs", source).unwrap();
        let all_in = |line| faults.iter().all(|fault| fault.line == line);
        assert!(faults.len() == 2 && all_in(9));
        assert_eq!(faults[0].text, "const B: u8 = 3;");
    }
}
