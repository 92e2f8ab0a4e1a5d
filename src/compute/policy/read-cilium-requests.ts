/** HTTP and Kafka requests as Cilium policies write them: what would make no sense to any proxy is refused. */
import { fieldNames } from "../../lib/schema.ts";
import { nearest } from "../../lib/nearest.ts";
import {
  headerMatchSchema,
  headerMismatches,
  kafkaRoles,
  mostLetters,
  secretSchema,
} from "./cilium-requests-schema.ts";
import { at, type Fields, type Place, readEach, readFields, readText, refuse, shown } from "./fields.ts";
import { regexMistake } from "./re2-syntax.ts";
import { unknownWord } from "./read-values.ts";

/** By their numbers, 0-33: names of Kafka's protocol in small letters, as Cilium writes them. */
export const kafkaApiKeys = [
  ...["produce", "fetch", "offsets", "metadata", "leaderandisr", "stopreplica", "updatemetadata", "controlledshutdown"],
  ...["offsetcommit", "offsetfetch", "findcoordinator", "joingroup", "heartbeat", "leavegroup", "syncgroup"],
  ...["describegroups", "listgroups", "saslhandshake", "apiversions", "createtopics", "deletetopics", "deleterecords"],
  ...["initproducerid", "offsetforleaderepoch", "addpartitionstotxn", "addoffsetstotxn", "endtxn", "writetxnmarkers"],
  ...["txnoffsetcommit", "describeacls", "createacls", "deleteacls", "describeconfigs", "alterconfigs"],
];
/** 16 bits with a sign. */
const lastVersion = 32_767;

export function checkHttpRule(fields: Fields, place: Place): void {
  for (const name of ["method", "path"]) {
    const text = readText(fields[name], at(place, name));
    const mistake = text === null ? null : regexMistake(text);
    if (mistake === null) continue;
    const remedy = "write a regular expression of RE2 that matches the whole text, as /public/.*";
    refuse(at(place, name), "POLICY_REGEX", `${shown(text)} is not a regular expression: ${mistake}`, remedy);
  }
  readText(fields.host, at(place, "host"));
  readEach(fields.headers, at(place, "headers"), (entry, entryPlace) => {
    const header = readText(entry, entryPlace);
    if (header !== null && /^[\s:]*$/.test(header.split(" ")[0] ?? "")) {
      refuse(entryPlace, "POLICY_MISSING", "a header has a name", 'write "Name: value", or "Name" for any value');
    }
    return null;
  });
  readEach(fields.headerMatches, at(place, "headerMatches"), readHeaderMatch);
}

function readHeaderMatch(value: unknown, place: Place): null {
  const match = readFields(value, place, fieldNames(headerMatchSchema));
  if (match === null) return null;
  if (!hasText(match.name)) refuse(at(place, "name"), "POLICY_MISSING", "a header has a name", "write name");
  readText(match.value, at(place, "value"));
  const mismatch = readText(match.mismatch, at(place, "mismatch")) ?? "";
  if (mismatch !== "" && !headerMismatches.some((each) => each === mismatch)) {
    unknownWord(at(place, "mismatch"), "POLICY_MISMATCH", mismatch, "an answer to a mismatch", headerMismatches);
  }
  const secret = readFields(match.secret, at(place, "secret"), fieldNames(secretSchema));
  if (secret !== null && !hasText(secret.name)) {
    refuse(at(at(place, "secret"), "name"), "POLICY_MISSING", "the secret has no name", "write name of a Secret");
  }
  return null;
}

export function checkKafkaRule(fields: Fields, place: Place): void {
  const text = (name: string) => readText(fields[name], at(place, name)) ?? "";
  const [role, apiKey, apiVersion] = [text("role"), text("apiKey"), text("apiVersion")];
  if (role !== "" && apiKey !== "") {
    const remedy = "a role stands for its keys: write one of both";
    refuse(place, "POLICY_COMBINED", "role and apiKey in one rule", remedy);
  }
  if (role !== "" && !kafkaRoles.some((each) => each === role))
    unknownWord(at(place, "role"), "POLICY_KAFKA", role, "a role", kafkaRoles);
  if (apiKey !== "" && !kafkaApiKeys.includes(apiKey.toLowerCase())) {
    const near = nearest(apiKey.toLowerCase(), kafkaApiKeys);
    const remedy = near === null ? "write the name of a request, as produce or fetch" : `did you mean ${near}?`;
    refuse(at(place, "apiKey"), "POLICY_KAFKA", `${shown(apiKey)} is not a request of Kafka`, remedy);
  }
  if (apiVersion !== "" && (!/^\d{1,5}$/.test(apiVersion) || Number(apiVersion) > lastVersion)) {
    const message = `${shown(apiVersion)} is not a version`;
    refuse(at(place, "apiVersion"), "POLICY_KAFKA", message, `write a number from 0 to ${lastVersion} in quotes`);
  }
  for (const name of ["clientID", "topic"]) {
    const written = text(name);
    if (written.length <= mostLetters && /^[-a-zA-Z0-9._]*$/.test(written)) continue;
    const message = `${shown(written)} is no ${name === "topic" ? "topic" : "client"} that Kafka knows`;
    refuse(at(place, name), "POLICY_KAFKA", message, `up to ${mostLetters} letters, digits, . _ -`);
  }
}

function hasText(value: unknown): boolean {
  return typeof value === "string" && value !== "";
}
