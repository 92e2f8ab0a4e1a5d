/**
 * The documents by which clients learn what is served: groups, versions, kinds with their verbs, the server's version, and as much of OpenAPI v3
 * as tells kubectl that the server checks fields itself (fieldValidation).
 */
import type { JsonObject } from "./json.ts";
import { apiVersionOf, type Resource, type Resources } from "./resources.ts";
import { subresourcesOf } from "./routes.ts";

const version = { major: "1", minor: "33", gitVersion: "v1.33.0", platform: "linux/amd64" };
const verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/** null for a path that is no document. */
export function discovery(resources: Resources, path: string): JsonObject | null {
  if (path === "/version") return version;
  if (path === "/api") return { kind: "APIVersions", versions: ["v1"], serverAddressByClientCIDRs: [] };
  const all = resources.all();
  if (path === "/apis")
    return { kind: "APIGroupList", apiVersion: "v1", groups: groupNames(all).map((g) => group(all, g)) };
  if (path === "/openapi/v3") return openApiIndex(all);
  const openApi = /^\/openapi\/v3\/(?:api|apis\/([^/]+))\/([^/]+)$/.exec(path);
  if (openApi !== null) return openApiOf(all, openApi[1] ?? "", openApi[2] ?? "");
  const within = /^\/apis\/([^/]+)$/.exec(path);
  if (within !== null) return groupNames(all).includes(within[1] ?? "") ? group(all, within[1] ?? "") : null;
  const exact = /^\/(?:api|apis\/([^/]+))\/([^/]+)$/.exec(path);
  return exact === null ? null : resourceList(all, exact[1] ?? "", exact[2] ?? "");
}

function groupNames(all: readonly Resource[]): readonly string[] {
  return [...new Set(all.map((resource) => resource.group))].filter((name) => name !== "");
}

function group(all: readonly Resource[], name: string): JsonObject {
  const served = new Set(all.filter((resource) => resource.group === name).map((resource) => resource.version));
  const versions = [...served].map((each) => ({ groupVersion: `${name}/${each}`, version: each }));
  const [preferredVersion = {}] = versions;
  return { kind: "APIGroup", apiVersion: "v1", name, versions, preferredVersion };
}

function resourceList(all: readonly Resource[], group: string, version: string): JsonObject | null {
  const served = all.filter((resource) => resource.group === group && resource.version === version);
  if (served.length === 0) return null;
  return {
    kind: "APIResourceList",
    apiVersion: "v1",
    groupVersion: apiVersionOf({ group, version }),
    resources: served.flatMap((resource) => {
      const { plural, singular, namespaced, kind, shortNames, categories } = resource;
      const names = {
        ...(shortNames.length > 0 && { shortNames }),
        ...(categories.length > 0 && { categories }),
      };
      const parts = subresourcesOf(resource).map((part) => ({
        name: `${plural}/${part}`,
        singularName: "",
        namespaced,
        kind: part === "binding" ? "Binding" : kind,
        verbs: part === "binding" ? ["create"] : ["get", "patch", "update"],
      }));
      return [{ name: plural, singularName: singular, namespaced, kind, verbs, ...names }, ...parts];
    }),
  };
}

function openApiPath({ group, version }: Pick<Resource, "group" | "version">): string {
  return group === "" ? `api/${version}` : `apis/${group}/${version}`;
}

function openApiIndex(all: readonly Resource[]): JsonObject {
  const paths = [...new Set(all.map(openApiPath))];
  return { paths: Object.fromEntries(paths.map((path) => [path, { serverRelativeURL: `/openapi/v3/${path}` }])) };
}

function openApiOf(all: readonly Resource[], group: string, version: string): JsonObject | null {
  const served = all.filter((resource) => resource.group === group && resource.version === version);
  if (served.length === 0) return null;
  const parameter = { name: "fieldValidation", in: "query", schema: { type: "string" } };
  const paths = served.map((resource) => {
    const { kind, plural, namespaced } = resource;
    const path = `/${openApiPath(resource)}/${namespaced ? "namespaces/{namespace}/" : ""}${plural}/{name}`;
    const operation = {
      parameters: [parameter],
      "x-kubernetes-group-version-kind": { group, version, kind },
      responses: {},
    };
    return [path, { patch: operation }];
  });
  const info = { title: "the API server of the tests", version: "v1.33.0" };
  return { openapi: "3.0.0", info, paths: Object.fromEntries(paths), components: { schemas: {} } };
}
