use std::time::Instant;
fn main() {
    let path = std::env::args().nth(1).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let parsed = npc_syntax::parse(npc_diagnostics::FileId(0), &text);
    for d in &parsed.diagnostics { println!("{} {} {:?} {:?}", d.code.id, d.message, d.labels.iter().map(|l| (l.location.span.of(&text), &l.text)).collect::<Vec<_>>(), d.help); }
    println!("{} items", parsed.tree.items.len());
    let mut big = String::new();
    while big.len() < 4_000_000 { big.push_str(&text); }
    let t = Instant::now();
    let parsed = npc_syntax::parse(npc_diagnostics::FileId(0), &big);
    let e = t.elapsed();
    println!("{} items, {:?}, {:.1} MB/s", parsed.tree.items.len(), e, big.len() as f64 / 1e6 / e.as_secs_f64());
}
