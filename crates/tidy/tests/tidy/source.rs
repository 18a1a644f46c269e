//! Rules about Rust source: small files and functions, a module doc on each file, names that say something, no state of
//! the whole process, no panic hidden in a macro.

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Attribute, Block, Signature};

use crate::{assert_none, tree};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 500;
const INLINE_TEST_LINES_MAX: usize = 200;
const STRUCT_FIELDS_MAX: usize = 12;
/// What the doc of a wider struct must say.
const WIDE: &str = "Wide because";
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] = ["common", "util", "utils", "helper", "helpers", "manager", "managers", "misc"];
/// Types whose value changes behind a shared reference.
const SHARED_STATE: [&str; 10] =
    ["Cell", "RefCell", "UnsafeCell", "OnceCell", "OnceLock", "LazyCell", "LazyLock", "Mutex", "RwLock", "Condvar"];

/// Collects the violations of one file.
struct Rules<'a> {
    path: &'a str,
    is_test: bool,
    test_lines: usize,
    found: Vec<String>,
}

/// Everything that is wrong in one file.
fn check(path: &str, text: &str, is_test: bool) -> Vec<String> {
    let file = match syn::parse_file(text) {
        Ok(file) => file,
        Err(error) => return vec![format!("{path}: {error}")],
    };
    let mut rules = Rules { path, is_test, test_lines: 0, found: Vec::new() };
    if doc(&file.attrs).is_empty() {
        rules.found.push(format!("{path}: no module doc"));
    }
    for part in path.trim_end_matches(".rs").split('/').filter(|part| EMPTY_NAMES.contains(part)) {
        rules.found.push(format!("{path}: `{part}` says nothing"));
    }
    rules.visit_file(&file);
    let lines = text.lines().count() - rules.test_lines;
    if !is_test && lines > FILE_LINES_MAX {
        rules.found.push(format!("{path}: {lines} lines without tests, {FILE_LINES_MAX} at most"));
    }
    rules.found
}

impl Rules<'_> {
    fn report(&mut self, span: Span, what: &str) {
        self.found.push(format!("{}:{}: {what}", self.path, span.start().line));
    }

    fn function(&mut self, signature: &Signature, block: &Block) {
        let lines = lines(signature.span(), block.span());
        if lines > FUNCTION_LINES_MAX {
            let what = format!("fn {} has {lines} lines, {FUNCTION_LINES_MAX} at most", signature.ident);
            self.report(signature.span(), &what);
        }
    }

    /// Besides the seam to the world, the clock that a simulation puts in place of the whole process's: all its nodes are to
    /// see the same time. And the fault that the judge plants: all its nodes are to have it.
    fn owns_the_process(&self) -> bool {
        self.path.starts_with("crates/env/") || ["chaos/src/time.rs", "crates/types/src/mutant.rs"].contains(&self.path)
    }
}

fn lines(first: Span, last: Span) -> usize {
    last.end().line - first.start().line + 1
}

/// The doc comment that these attributes make.
fn doc(attributes: &[Attribute]) -> String {
    let docs = attributes.iter().filter(|attribute| attribute.path().is_ident("doc"));
    let texts = docs.filter_map(|attribute| match &attribute.meta.require_name_value().ok()?.value {
        syn::Expr::Lit(literal) => match &literal.lit {
            syn::Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

fn is_cfg_test(attributes: &[Attribute]) -> bool {
    let mut cfgs = attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    cfgs.any(|cfg| cfg.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test")))
}

fn names_any(tokens: TokenStream, words: &[&str]) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Group(group) => names_any(group.stream(), words),
        TokenTree::Ident(ident) => words.iter().any(|word| ident == word),
        _ => false,
    })
}

/// Whether a type has a part that changes behind a shared reference.
struct SharesState(bool);

impl<'ast> Visit<'ast> for SharesState {
    fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
        let name = segment.ident.to_string();
        self.0 |= name.starts_with("Atomic") || SHARED_STATE.contains(&name.as_str());
        visit::visit_path_segment(self, segment);
    }
}

impl<'ast> Visit<'ast> for Rules<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if EMPTY_NAMES.iter().any(|name| item.ident == name) {
            self.report(item.span(), &format!("mod {} says nothing", item.ident));
        }
        let was_test = self.is_test;
        if is_cfg_test(&item.attrs) && item.content.is_some() {
            let lines = lines(item.span(), item.span());
            if !was_test {
                self.test_lines += lines;
            }
            if lines > INLINE_TEST_LINES_MAX {
                let what =
                    format!("{lines} lines of tests, {INLINE_TEST_LINES_MAX} at most: move them to a sibling file");
                self.report(item.span(), &what);
            }
            self.is_test = true;
        }
        visit::visit_item_mod(self, item);
        self.is_test = was_test;
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        let fields = item.fields.len();
        if fields > STRUCT_FIELDS_MAX && !doc(&item.attrs).contains(WIDE) {
            let what = format!(
                "struct {} has {fields} fields: past {STRUCT_FIELDS_MAX} its doc says `{WIDE} …`, or it is two structs",
                item.ident
            );
            self.report(item.ident.span(), &what);
        }
        visit::visit_item_struct(self, item);
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        let mut shares = SharesState(matches!(item.mutability, syn::StaticMutability::Mut(_)));
        shares.visit_type(&item.ty);
        if shares.0 && !self.owns_the_process() {
            self.report(item.ident.span(), &format!("static {} is state that two nodes would share", item.ident));
        }
        visit::visit_item_static(self, item);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        if item.path.segments.last().is_some_and(|last| last.ident == "thread_local") && !self.owns_the_process() {
            self.report(item.span(), "thread_local! is state that two nodes would share");
        }
        visit::visit_macro(self, item);
    }

    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        let is_definition = item.mac.path.is_ident("macro_rules");
        if is_definition && !self.is_test && names_any(item.mac.tokens.clone(), &["unwrap", "expect", "panic"]) {
            self.report(item.span(), "a macro that hides a panic from the lints");
        }
        visit::visit_item_macro(self, item);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let asks = ["contains", "starts_with", "ends_with"].iter().any(|method| call.method == method);
        let is_printed = matches!(&*call.receiver, syn::Expr::MethodCall(inner) if inner.method == "to_string");
        if asks && is_printed && !self.is_test {
            self.report(call.method.span(), "a decision by the text of a message: match on the type");
        }
        visit::visit_expr_method_call(self, call);
    }
}

#[test]
fn the_source_keeps_its_rules() {
    let mut found = Vec::new();
    for file in tree::rust_files() {
        found.extend(check(&file.path, &file.text, file.is_test()));
    }
    assert_none("STYLE.md", &found);
}

/// Each text breaks one rule, and the message says which.
#[test]
fn each_rule_finds_what_breaks_it() {
    let long = |lines: usize| "    a();\n".repeat(lines);
    let wide = (0..13).map(|i| format!("f{i}: u8, ")).collect::<String>();
    let breaks = [
        ("fn a() {}".to_owned(), "no module doc"),
        (format!("//! D.\nfn b() {{\n{}}}\n", long(70)), "fn b has 72 lines"),
        (format!("//! D.\n{}", "const A: u8 = 1;\n".repeat(500)), "501 lines without tests"),
        (format!("//! D.\n#[cfg(test)]\nmod t {{\nfn c() {{}}\n{}}}\n", "\n".repeat(200)), "lines of tests"),
        (format!("//! D.\n/// S.\nstruct S {{ {wide} }}"), "struct S has 13 fields"),
        ("//! D.\nstatic mut A: u8 = 1;".to_owned(), "static A is state"),
        ("//! D.\nfn a() { static N: std::sync::atomic::AtomicU64 = x(); }".to_owned(), "static N is state"),
        ("//! D.\nstd::thread_local! { static T: u8 = 1; }".to_owned(), "thread_local!"),
        ("//! D.\nmacro_rules! m { ($x:expr) => { $x.unwrap() } }".to_owned(), "hides a panic"),
        ("//! D.\nfn a(e: E) -> bool { e.to_string().contains(\"x\") }".to_owned(), "by the text of a message"),
        ("//! D.\nmod utils;".to_owned(), "mod utils says nothing"),
        ("//! D.\nfn".to_owned(), "expected"),
    ];
    for (text, message) in breaks {
        let found = check("a/b.rs", &text, false);
        assert!(found.len() == 1 && found[0].contains(message), "{message}: {found:?}");
    }
    assert_eq!(check("a/common/b.rs", "//! D.\n", false), ["a/common/b.rs: `common` says nothing"]);
}

#[test]
fn what_is_allowed_passes() {
    let wide = (0..13).map(|i| format!("f{i}: u8, ")).collect::<String>();
    let text =
        format!("//! D.\n/// S. Wide because it is a settings page.\nstruct S {{ {wide} }}\nstatic A: &[u8] = &[];\n");
    assert!(check("a/b.rs", &text, false).is_empty());
    let counter = "//! D.\nstatic N: AtomicU64 = x();\n";
    for owner in ["crates/env/src/rng.rs", "chaos/src/time.rs"] {
        assert!(check(owner, counter, false).is_empty());
    }
    let tested =
        format!("//! D.\n{}#[cfg(test)]\nmod t {{\n{}}}\n", "const A: u8 = 1;\n".repeat(400), "\n".repeat(150));
    assert!(check("a/b.rs", &tested, false).is_empty());
}
