import test from "ava";
import { openFilesWarning } from "../../../src/proxy/open-files.ts";

const limits = (most: string) =>
  [
    "Limit                     Soft Limit           Hard Limit           Units     ",
    "Max processes             95817                95817                processes ",
    `Max open files            ${most.padEnd(20)} 1048576              files     `,
    "",
  ].join("\n");

test("files for all connections", (t) => {
  t.is(openFilesWarning(limits("1048576"), 65_536), null);
  t.is(openFilesWarning(limits("unlimited"), 65_536), null);
  t.is(openFilesWarning(limits("1124"), 50), null);
});

test("too few are told, with what there is room for", (t) => {
  t.regex(
    openFilesWarning(limits("20000"), 65_536) ?? "",
    /only 20000 files .* 9488 connections, while maxConnections is 65536/,
  );
  t.regex(openFilesWarning(limits("256"), 65_536) ?? "", /some 0 connections/);
});
