"""How a page looks, in light and dark, on screen and paper."""

CSS = """
:root {
  --ink: #1f2328; --soft: #59636e; --line: #d8dee4; --faint: #f3f5f7; --paper: #ffffff;
  --accent: #0a5aa8; --warn: #8a5a00; --warn-paper: #fff8e6; --mark: #eef5fc;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e3e7eb; --soft: #9aa5b1; --line: #343b44; --faint: #1c2127; --paper: #14181d;
    --accent: #6cb2f5; --warn: #e3b75b; --warn-paper: #2a2416; --mark: #1a2836;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body {
  margin: 0; color: var(--ink); background: var(--paper); line-height: 1.55; font-size: 16px;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  display: grid; grid-template-columns: 15.5rem minmax(0, 1fr);
}
nav {
  position: sticky; top: 0; align-self: start; height: 100vh; overflow-y: auto; padding: 2.2rem 1.2rem 2rem 1.5rem;
  border-right: 1px solid var(--line); font-size: .86rem;
}
nav ol { list-style: none; margin: 0; padding: 0; counter-reset: part; }
nav li { counter-increment: part; margin: .12rem 0; }
nav a { color: var(--soft); text-decoration: none; display: block; padding: .2rem 0 .2rem 1.6rem; text-indent: -1.6rem; }
nav a::before {
  content: counter(part); display: inline-block; width: 1.6rem; text-indent: 0; font-variant-numeric: tabular-nums;
}
nav a:hover, nav a:focus { color: var(--accent); text-decoration: underline; }
main { max-width: 68rem; width: 100%; padding: 2.2rem 2.5rem 5rem; }
header { margin-bottom: 1.6rem; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.01em; }
.subtitle { color: var(--soft); margin: 0; }
section { padding-top: .8rem; margin-top: 1.8rem; border-top: 1px solid var(--line); counter-increment: section; }
main { counter-reset: section; }
h2 { font-size: 1.28rem; line-height: 1.3; margin: .6rem 0 .9rem; }
h2::before { content: counter(section) "  "; color: var(--soft); white-space: pre; font-weight: 500; }
h3 { font-size: 1.02rem; margin: 1.6rem 0 .5rem; }
h4 { font-size: .98rem; margin: 0 0 .6rem; }
p, ul { margin: .6rem 0; max-width: 46rem; }
ul { padding-left: 1.2rem; }
li { margin: .25rem 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: .9rem; margin: 1.1rem 0 1.2rem; }
.card { border: 1px solid var(--line); border-radius: 8px; padding: .85rem 1rem; background: var(--faint); }
.number { font-size: 1.55rem; font-weight: 650; font-variant-numeric: tabular-nums; letter-spacing: -.01em; }
.what { font-size: .92rem; line-height: 1.4; }
.small { font-size: .8rem; color: var(--soft); margin-top: .3rem; line-height: 1.4; }
.table { margin: 1.1rem 0 1.4rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .87rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: 0 0 .45rem; caption-side: top; }
th, td { padding: .34rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th[scope=row], thead th:first-child { text-align: left; padding-left: .3rem; }
th[scope=row] { font-weight: 500; white-space: normal; min-width: 11rem; }
thead th { white-space: normal; }
thead th { color: var(--soft); font-weight: 600; font-size: .82rem; vertical-align: bottom; }
thead tr:last-child th { border-bottom: 1.5px solid var(--soft); }
thead .upper th { text-align: center; border-bottom: 1px solid var(--line); }
thead .upper th:first-child { text-align: left; }
tr.strong th, tr.strong td { background: var(--mark); font-weight: 650; }
.ci { color: var(--soft); font-size: .84em; font-weight: 400; }
.note { font-size: .83rem; color: var(--soft); margin: .45rem 0 0; }
figure { margin: 1.1rem 0 1.5rem; }
figure img { display: block; max-width: 100%; height: auto; }
figcaption { font-size: .86rem; color: var(--soft); margin-top: .4rem; max-width: 46rem; }
.missing { border: 1px dashed var(--line); border-radius: 6px; padding: .55rem .9rem; color: var(--soft); }
.caution {
  border-left: 3px solid var(--warn); background: var(--warn-paper); padding: .55rem .9rem; border-radius: 0 6px 6px 0;
}
.gallery { border: 1px solid var(--line); border-radius: 8px; padding: .9rem 1.1rem .5rem; margin: 1rem 0; }
.gallery .row { display: flex; flex-wrap: wrap; gap: .7rem; align-items: flex-start; }
.picture { margin: 0; }
.picture img { height: 140px; width: auto; max-width: 100%; border-radius: 3px; }
.picture img[src^='data:image/svg'] { height: 175px; border-radius: 0; }
.picture figcaption { margin-top: .25rem; font-size: .78rem; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .25rem 1.2rem; margin: .8rem 0; font-size: .92rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
pre {
  background: var(--faint); border: 1px solid var(--line); border-radius: 6px; padding: .7rem .9rem; overflow-x: auto;
  font-size: .83rem; line-height: 1.45;
}
code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
summary { cursor: pointer; color: var(--accent); font-size: .92rem; }
@media (max-width: 60rem) {
  body { display: block; }
  nav { position: static; height: auto; border-right: 0; border-bottom: 1px solid var(--line); padding: 1rem 1.2rem; }
  nav ol { columns: 2; }
  main { padding: 1.4rem 1.2rem 3rem; }
  dl { grid-template-columns: 1fr; gap: .1rem; }
  dd { margin-bottom: .5rem; }
}
@media print {
  body { display: block; font-size: 11pt; }
  nav { display: none; }
  main { max-width: none; padding: 0; }
  figure, .table, .card, .gallery { break-inside: avoid; }
}
"""
