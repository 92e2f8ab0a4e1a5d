/** What Cilium policies can demand of requests and connections, field by field: for their readers and for the CRDs. */
import { anyObject, described, integer, list, object, text, word } from "../../lib/schema.ts";

export const headerMismatches = ["LOG", "ADD", "DELETE", "REPLACE"] as const;
export const kafkaRoles = ["produce", "consume"] as const;
export const envoyKinds = ["CiliumEnvoyConfig", "CiliumClusterwideEnvoyConfig"] as const;
export const authenticationModes = ["disabled", "required", "test-always-fail"] as const;

/** Of DNS names and of what Kafka calls topics and clients. */
export const mostLetters = 255;

const optionalText = text();

export const secretSchema = object(
  { name: described(optionalText, "name of a Secret"), namespace: described(optionalText, "its namespace") },
  { required: ["name"] },
);

export const headerMatchSchema = object(
  {
    name: text({ minLength: 1, description: "header that is looked at" }),
    value: text({ description: "value that it has to have" }),
    secret: described(secretSchema, "Secret that holds the value"),
    mismatch: word(headerMismatches, { description: "what becomes of a request without it; left out: it is refused" }),
  },
  { required: ["name"] },
);

export const httpSchema = object({
  method: text({ description: "regular expression (RE2) of the whole method" }),
  path: text({ description: "regular expression (RE2) of the whole path" }),
  host: text({ description: "regular expression (RE2) of the whole host" }),
  headers: list(optionalText, { description: 'headers that have to be there: "Name: value", or "Name" for any value' }),
  headerMatches: list(headerMatchSchema, { description: "headers, and what becomes of requests without them" }),
});

export const kafkaSchema = object({
  role: word(kafkaRoles, { description: "the requests that a producer or consumer needs" }),
  apiKey: text({ description: "a request, as produce or fetch" }),
  apiVersion: text({ pattern: "^[0-9]{0,5}$", description: "version of the request" }),
  clientID: text({ maxLength: mostLetters, pattern: "^[-a-zA-Z0-9._]*$", description: "identifier of the client" }),
  topic: text({ maxLength: mostLetters, pattern: "^[-a-zA-Z0-9._]*$", description: "topic" }),
});

/** Of `toFQDNs` and of `rules.dns`. */
export const dnsNameSchema = object({
  matchName: text({ maxLength: mostLetters, pattern: "^[-a-zA-Z0-9_.]*$", description: "a name" }),
  matchPattern: text({
    maxLength: mostLetters,
    pattern: "^[-a-zA-Z0-9_.*]*$",
    description: "a pattern of names: * is any letters within a label",
  }),
});

export const requestsSchema = object({
  http: list(httpSchema, { description: "HTTP requests, any of these" }),
  kafka: list(kafkaSchema, { description: "Kafka requests, any of these" }),
  dns: list(dnsNameSchema, { description: "DNS queries, any of these" }),
  l7proto: text({ description: "name of another protocol" }),
  l7: list(anyObject(), { description: "its requests, any of these" }),
});

export const tlsSchema = object({
  secret: described(secretSchema, "Secret with what TLS needs"),
  trustedCA: text({ description: "key of the Secret: authorities" }),
  certificate: text({ description: "key of the Secret: certificate" }),
  privateKey: text({ description: "key of the Secret: private key" }),
});

export const envoyConfigSchema = object(
  {
    kind: word(envoyKinds, {
      description: "left out: CiliumEnvoyConfig, or the clusterwide one in clusterwide policies",
    }),
    name: text({ minLength: 1, description: "its name" }),
  },
  { required: ["name"] },
);

export const listenerSchema = object(
  {
    envoyConfig: described(envoyConfigSchema, "where it is configured"),
    name: text({ minLength: 1, description: "its name" }),
    priority: integer(1, 100, { description: "which one counts where rules name several: the lowest" }),
  },
  { required: ["name"] },
);

export const authenticationSchema = object({
  mode: word(authenticationModes, { description: "whether both ends have to prove who they are" }),
});

/** A security group of a cloud: accepted by the API, refused by the reader, who tells why. */
export const cloudGroupSchema = anyObject({ description: "a cloud's group" });
