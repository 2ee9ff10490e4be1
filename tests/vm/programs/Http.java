// SPDX-License-Identifier: MIT
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executors;
import java.util.stream.IntStream;

/** The JDK's own HTTP server and client: `serve PORT` answers with the body's length, `ask URL COUNT` asks so often at once. */
class Http {
  public static void main(String[] arguments) throws Exception {
    if (arguments[0].equals("serve")) serve(Integer.parseInt(arguments[1]));
    else ask(URI.create(arguments[1]), Integer.parseInt(arguments[2]));
  }

  static void serve(int port) throws Exception {
    HttpServer server = HttpServer.create(new InetSocketAddress(port), 0);
    server.setExecutor(Executors.newFixedThreadPool(4));
    server.createContext("/", exchange -> {
      byte[] answer = String.valueOf(exchange.getRequestBody().readAllBytes().length).getBytes();
      exchange.sendResponseHeaders(200, answer.length);
      exchange.getResponseBody().write(answer);
      exchange.close();
    });
    server.start();
  }

  static void ask(URI uri, int count) {
    HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    int[] sizes = IntStream.range(0, count).map(n -> n * 10_000).toArray();
    CompletableFuture<?>[] answers = IntStream.of(sizes).mapToObj(size -> client
        .sendAsync(HttpRequest.newBuilder(uri).POST(HttpRequest.BodyPublishers.ofByteArray(new byte[size])).build(),
            HttpResponse.BodyHandlers.ofString())
        .thenAccept(response -> {
          if (Integer.parseInt(response.body()) != size) throw new IllegalStateException(response.body());
        })).toArray(CompletableFuture[]::new);
    CompletableFuture.allOf(answers).join();
    System.out.println("all answered");
  }
}
