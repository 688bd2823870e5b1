"""The look of a page: calm, one accent, light and dark."""

STYLE = """\
:root {
  --paper: #fbfaf8; --card: #ffffff; --ink: #23272e; --soft: #626a76; --line: #e4e1db; --tint: #f3f1ec;
  --accent: #3f6fb5;
  --sans: ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", Arial, sans-serif;
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #16181c; --card: #1d2025; --ink: #e3e5e8; --soft: #9aa2ad; --line: #2f343b; --tint: #23272d;
    --accent: #8fb4e8;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.6 var(--sans); }
main { max-width: 60rem; margin: 0 auto; padding: 3.5rem 1.5rem 6rem; }
header { margin-bottom: 2rem; }
h1 { font-size: clamp(1.6rem, 4vw, 2.2rem); line-height: 1.2; font-weight: 650; letter-spacing: -0.015em; }
h1 { margin: 0; text-wrap: balance; }
h2 { font-size: 1.2rem; font-weight: 620; letter-spacing: -0.005em; margin: 3.2rem 0 0.6rem; }
p { max-width: 44rem; margin: 0.6rem 0; }
.subtitle, .lead, .note, figcaption { color: var(--soft); }
.subtitle { font-size: 1.02rem; margin-top: 0.5rem; }
.lead { margin-top: 0; }
.note, figcaption { font-size: 0.86rem; }
code { font: 0.88em var(--mono); background: var(--tint); border-radius: 4px; padding: 0.1em 0.35em; }
figure { background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
table { font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; margin: 1.2rem 0 0.4rem; }
table { border-collapse: collapse; font-size: 0.92rem; min-width: min(100%, 24rem); }
caption { text-align: left; color: var(--soft); font-size: 0.86rem; padding: 0 0 0.5rem; }
th, td { text-align: left; padding: 0.45rem 1.6rem 0.45rem 0; border-bottom: 1px solid var(--line); }
th, td { font-weight: 400; vertical-align: baseline; }
thead th { color: var(--soft); font-size: 0.82rem; font-weight: 550; white-space: nowrap; }
tbody th { font-weight: 550; }
tbody tr:last-child > * { border-bottom: 0; }
.n { text-align: right; white-space: nowrap; }
figure { margin: 1.4rem 0; padding: 1.1rem 1.2rem; overflow-x: auto; }
figure > svg, figure > img { display: block; max-width: 100%; height: auto; margin: 0 auto; color: var(--ink); }
figure svg text { font-family: var(--sans) !important; }
figcaption { margin-top: 0.8rem; max-width: 44rem; }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1rem; }
.beside { margin: 1.4rem 0; }
.beside figure { margin: 0; }
details { border-top: 1px solid var(--line); }
summary { cursor: pointer; padding: 0.8rem 0; font-weight: 550; }
summary:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 4px; }
.pairs { margin: 0.2rem 0 1.2rem; font: 0.84rem/1.5 var(--mono); }
.pairs div { display: grid; grid-template-columns: minmax(10rem, 18rem) 1fr; gap: 0 1.2rem; padding: 0.22rem 0; }
.pairs dt { color: var(--soft); overflow-wrap: anywhere; }
.pairs dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 36rem) {
  main { padding: 2rem 1rem 4rem; }
  figure { padding: 0.8rem; }
  th, td { padding-right: 1rem; }
  .pairs div { grid-template-columns: 1fr; padding: 0.4rem 0; }
}
@media print { body { background: #fff; } figure { break-inside: avoid; } }
"""
