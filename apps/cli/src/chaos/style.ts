/** How the page looks: light, dark, and on paper. The colours of outcomes differ in lightness too. */

const light = `
  --paper: #ffffff; --ink: #1b1f24; --quiet: #5b6470; --line: #d9dee4;
  --good: #17703f; --bad: #b3261e;
  --ready: #7fb99a; --down: #b3261e; --shade: #b3261e1f;
  --answered: #3f72a8; --replayed: #b26a00; --unknown: #8e2f83; --failed: #b3261e;`

const dark = `
  --paper: #14171b; --ink: #e8eaed; --quiet: #9aa4b0; --line: #333a43;
  --good: #6fd39b; --bad: #ff8a80;
  --ready: #3f7f5e; --down: #ff8a80; --shade: #ff8a802b;
  --answered: #86b6e8; --replayed: #f0b04d; --unknown: #e39bd9; --failed: #ff8a80;`

export const style = `
:root { color-scheme: light dark; ${light} }
@media (prefers-color-scheme: dark) { :root { ${dark} } }
@media print { :root { color-scheme: light; ${light} } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
p { margin: 0.25rem 0; overflow-wrap: anywhere; }
h1 { margin: 0 0 0.5rem; font-size: 1.9rem; line-height: 1.2; }
h2 { margin: 2.25rem 0 0.5rem; font-size: 1.15rem; }
.kicker, .quiet, figcaption { color: var(--quiet); }
.kicker { font-size: 0.9rem; }
h1.holds, .checks .holds span { color: var(--good); }
h1.broken, .checks .broken, .checks .broken span { color: var(--bad); }
.checks { margin: 0; padding: 0; list-style: none; }
.checks li { padding-left: 1.6rem; text-indent: -1.6rem; overflow-wrap: anywhere; }
.checks span { display: inline-block; width: 1.6rem; text-indent: 0; font-weight: 700; }
figure { margin: 0; }
figcaption { margin-top: 0.5rem; font-size: 0.9rem; }
.scroll { overflow-x: auto; }
.scroll:focus-visible { outline: 2px solid var(--answered); outline-offset: 2px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 1.5rem 0.25rem 0; border-bottom: 1px solid var(--line); text-align: left; font-weight: 400; }
thead th { color: var(--quiet); font-size: 0.9rem; }
.outages th, .outages td, .kills th, .kills td { white-space: nowrap; }
.figures th { color: var(--quiet); }
.timeline { display: block; width: 100%; min-width: 46rem; height: auto; font: 13px system-ui, sans-serif; }
.timeline text { fill: var(--ink); }
.timeline .tick, .timeline .note { fill: var(--quiet); }
.grid { stroke: var(--line); stroke-width: 1; }
.outage { fill: var(--shade); }
.state.ready { fill: var(--ready); }
.state.down { fill: var(--down); }
.kill path { fill: var(--ink); }
.kill .held { fill: var(--quiet); }
.call { stroke-width: 1.5; }
.answered .call { stroke: var(--answered); }
.replayed .call { stroke: var(--replayed); stroke-width: 2; }
.unknown .call { stroke: var(--unknown); stroke-width: 2.5; }
.failed .call, .cut-off .call { stroke: var(--failed); stroke-width: 2.5; }
.dot { fill: var(--answered); fill-opacity: 0.75; }
.dot.replayed { fill: var(--replayed); }
.dot.unknown { fill: var(--unknown); }
.dot.failed { fill: var(--failed); }
@media print {
  main { max-width: none; padding: 0; }
  body { font-size: 11pt; }
  .timeline { min-width: 0; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .scroll { overflow: visible; }
  figure, tr { break-inside: avoid; }
  h2 { break-after: avoid; }
}
`
