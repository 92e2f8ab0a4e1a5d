/**
 * The picture of `tandem policy impact`: who may reach whom, as a matrix, with what a change opens and closes. Every state has a sign
 * beside its colour (Okabe and Ito's palette, told apart with any colour vision), and it follows the viewer's light or dark scheme.
 */
import type { Impact, ImpactCell, ImpactRow } from "../../compute/offline/impact.ts";
import { changeKinds, isUnchanged, reachText } from "../../compute/offline/reach.ts";

const size = 30;
const legendStep = 34;
const letter = 7.1;
const line = 19;
const gutter = 20;
const mostParties = 40;
const mostRows = 40;
const longestTitle = 38;

type State = "opens" | "closes" | "both" | "l7" | "everything" | "some" | "nothing" | "none";

const legend: readonly (readonly [State, string])[] = [
  ["opens", "opens"],
  ["closes", "closes"],
  ["both", "opens and closes"],
  ["l7", "L7 rules come or go"],
  ["everything", "open, unchanged"],
  ["some", "some ports, unchanged"],
  ["nothing", "closed, unchanged"],
];

const signs: Readonly<Record<State, string>> = {
  opens: "+",
  closes: "\u2212",
  both: "\u00b1",
  l7: "L7",
  everything: "\u25cf",
  some: "\u25d0",
  nothing: "\u00b7",
  none: "",
};

const style = `
  text { font: 12px system-ui, "DejaVu Sans", sans-serif; fill: #1b1f24; }
  .back { fill: #ffffff; } .head { font-size: 15px; font-weight: 600; } .dim { fill: #57606a; }
  .cell rect { stroke: #d0d7de; } .sign { text-anchor: middle; font-size: 15px; font-weight: 700; }
  .opens rect { fill: #0072b2; } .closes rect { fill: #b34700; } .both rect { fill: #7b3f78; } .l7 rect { fill: #e69f00; }
  .opens .sign, .closes .sign, .both .sign { fill: #ffffff; } .l7 .sign { fill: #1b1f24; font-size: 13px; }
  .everything rect { fill: #cfd6de; } .some rect { fill: #e9edf1; } .nothing rect { fill: #ffffff; }
  .everything .sign, .some .sign, .nothing .sign { fill: #57606a; font-weight: 400; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .back { fill: #0d1117; } .dim { fill: #9198a1; } .cell rect { stroke: #3d444d; }
    .opens rect { fill: #56b4e9; } .closes rect { fill: #e8853d; } .both rect { fill: #cc9ac4; } .l7 rect { fill: #f0c24b; }
    .opens .sign, .closes .sign, .both .sign, .l7 .sign { fill: #0d1117; }
    .everything rect { fill: #48515c; } .some rect { fill: #2b323a; } .nothing rect { fill: #0d1117; }
    .everything .sign, .some .sign, .nothing .sign { fill: #c3ccd6; }
  }`;

export function impactSvg(impact: Impact, title: string): string {
  const changed = new Set(
    impact.cells.filter(({ change }) => !isUnchanged(change)).flatMap(({ from, to }) => [from, to]),
  );
  const all = impact.parties.map((party) => party.title);
  // A matrix that nobody can read shows less, and says so.
  const shown = all.length > mostParties ? all.filter((each) => changed.has(each)).slice(0, mostParties) : all;
  const left = gutter + width(shown) + 12;
  const top = 92 + width(shown) * 0.72;
  const matrixWidth = shown.length * size;
  const legendLeft = left + matrixWidth + width(shown) * 0.72 + 24;
  const rows = impact.rows.slice(0, mostRows);
  const listTop = Math.max(top + shown.length * size, top + legend.length * legendStep) + 44;
  const texts = rows.map(rowText);
  const total = {
    width: Math.ceil(
      Math.max(legendLeft + 190, gutter * 2 + Math.max(0, ...texts.map((text) => text.length)) * letter),
    ),
    height: Math.ceil(listTop + (texts.length + 1) * line + gutter),
  };
  const hidden = all.length - shown.length;
  const more = impact.rows.length - rows.length;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${total.width}" height="${total.height}" viewBox="0 0 ${total.width} ${total.height}" role="img" aria-label="${xmlText(title)}">`,
    `<title>${xmlText(title)}</title><style>${style}</style>`,
    `<rect class="back" width="100%" height="100%"/>`,
    `<text class="head" x="${gutter}" y="30">${xmlText(title)}</text>`,
    `<text class="dim" x="${gutter}" y="50">rows connect to columns${hidden > 0 ? `; ${hidden} parties without a change or beyond ${mostParties} are left out` : ""}</text>`,
    ...shown.map((name, index) => columnTitle(name, left + index * size + size / 2 + 4, top - 8)),
    ...shown.map(
      (name, index) => `<text text-anchor="end" x="${left - 10}" y="${top + index * size + 20}">${named(name)}</text>`,
    ),
    ...matrix(impact, shown, left, top),
    ...legend.map(([state, text], index) => legendEntry(state, text, legendLeft, top + index * legendStep)),
    `<text class="head" x="${gutter}" y="${listTop - 12}">${rows.length === 0 ? "nothing changes" : "changes"}</text>`,
    ...texts.map((text, index) => `<text x="${gutter}" y="${listTop + 10 + index * line}">${xmlText(text)}</text>`),
    more > 0 ? `<text class="dim" x="${gutter}" y="${listTop + 10 + rows.length * line}">and ${more} more</text>` : "",
    "</svg>",
  ]
    .filter((part) => part !== "")
    .join("\n")
    .concat("\n");
}

function matrix(impact: Impact, shown: readonly string[], left: number, top: number): readonly string[] {
  const cells = new Map<string, ImpactCell[]>();
  for (const cell of impact.cells) {
    const key = JSON.stringify([cell.from, cell.to]);
    const known = cells.get(key);
    if (known === undefined) cells.set(key, [cell]);
    else known.push(cell);
  }
  const squares = shown.flatMap((from, row) =>
    shown.map((to, column) => {
      const here = cells.get(JSON.stringify([from, to])) ?? [];
      const tip = here.length === 0 ? "" : `<title>${xmlText(`${from} to ${to}: ${tipText(here)}`)}</title>`;
      return square(stateOf(here), left + column * size, top + row * size, tip);
    }),
  );
  return squares.filter((each) => each !== "");
}

function square(state: State, x: number, y: number, tip: string): string {
  if (state === "none") return "";
  const sign = signs[state] === "" ? "" : `<text class="sign" x="${x + size / 2}" y="${y + 20}">${signs[state]}</text>`;
  return `<g class="cell ${state}">${tip}<rect x="${x + 1}" y="${y + 1}" width="${size - 2}" height="${size - 2}" rx="3"/>${sign}</g>`;
}

function legendEntry(state: State, text: string, x: number, y: number): string {
  return `${square(state, x, y - 2, "")}<text x="${x + size + 8}" y="${y + 18}">${text}</text>`;
}

function columnTitle(name: string, x: number, y: number): string {
  return `<text transform="translate(${x} ${y}) rotate(-45)">${named(name)}</text>`;
}

function stateOf(cells: readonly ImpactCell[]): State {
  if (cells.length === 0) return "none";
  const has = (kind: (typeof changeKinds)[number]) => cells.some(({ change }) => change[kind].length > 0);
  if (has("opens") && has("closes")) return "both";
  if (has("opens")) return "opens";
  if (has("closes")) return "closes";
  if (has("narrows") || has("widens")) return "l7";
  const amounts = new Set(cells.map(({ after }) => after ?? "nothing"));
  const [only] = amounts;
  return amounts.size === 1 && only !== undefined ? only : "some";
}

function tipText(cells: readonly ImpactCell[]): string {
  const changes = cells.flatMap(({ family, change }) =>
    changeKinds.flatMap((kind) =>
      change[kind].length === 0 ? [] : [`IPv${family} ${kind} ${reachText(change[kind], family)}`],
    ),
  );
  if (changes.length > 0) return changes.join("; ");
  return cells.map(({ family, after }) => `IPv${family} ${after ?? "not there"}, unchanged`).join("; ");
}

function rowText({ kind, from, to, family, ports }: ImpactRow): string {
  const words = { opens: "opens", closes: "closes", narrows: "puts under L7 rules", widens: "frees of L7 rules" };
  return `${kind === "opens" ? "+" : kind === "closes" ? "\u2212" : "!"} ${words[kind]}  ${from} \u2192 ${to}: ${ports}${family === null ? "" : ` (IPv${family})`}`;
}

function width(titles: readonly string[]): number {
  return Math.max(60, ...titles.map((title) => Math.min(title.length, longestTitle) * letter));
}

function named(title: string): string {
  return xmlText(title.length > longestTitle ? `${title.slice(0, longestTitle - 1)}\u2026` : title);
}

function xmlText(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
