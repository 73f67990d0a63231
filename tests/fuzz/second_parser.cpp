#include "second_parser.hpp"

#include <http_parser.h>

namespace suture::fuzz {
namespace {

struct Reader {
  explicit Reader(http_parser_type type) {
    http_parser_init(&parser, type);
    parser.data = this;
    http_parser_settings_init(&settings);
    settings.on_message_begin = [](http_parser* p) {
      self(p).message = {};
      self(p).head_done = self(p).in_value = false;
      return 0;
    };
    settings.on_url = [](http_parser* p, const char* at, std::size_t n) {
      self(p).message.target.append(at, n);
      return 0;
    };
    settings.on_header_field = [](http_parser* p, const char* at, std::size_t n) {
      FieldList& fields = self(p).list();
      if (self(p).in_value || fields.empty()) fields.emplace_back();
      self(p).in_value = false;
      fields.back().first.append(at, n);
      return 0;
    };
    settings.on_header_value = [](http_parser* p, const char* at, std::size_t n) {
      self(p).in_value = true;
      self(p).list().back().second.append(at, n);
      return 0;
    };
    settings.on_headers_complete = [](http_parser* p) {
      Message& read = self(p).message;
      read.method = p->type == HTTP_REQUEST ? http_method_str(static_cast<http_method>(p->method)) : "";
      read.status = p->status_code;
      self(p).head_done = true;
      self(p).in_value = false;
      self(p).reading.messages.push_back(read);
      constexpr int kNoContent = 1;
      return p->type == HTTP_RESPONSE && p->status_code == 304 ? kNoContent : 0;
    };
    settings.on_body = [](http_parser* p, const char* at, std::size_t n) {
      self(p).reading.messages.back().content.append(at, n);
      return 0;
    };
    settings.on_message_complete = [](http_parser* p) {
      self(p).reading.messages.back().complete = true;
      return 0;
    };
  }
  static Reader& self(http_parser* p) { return *static_cast<Reader*>(p->data); }
  FieldList& list() { return head_done ? reading.messages.back().trailers : message.fields; }

  void read(std::string_view bytes) {
    http_parser_execute(&parser, &settings, bytes.data(), bytes.size());
    const auto error = HTTP_PARSER_ERRNO(&parser);
    reading.upgrade = parser.upgrade != 0;
    reading.unknown_method = error == HPE_INVALID_METHOD;
    if (error != HPE_OK) reading.error = http_errno_name(error);
  }

  http_parser parser{};
  http_parser_settings settings{};
  SecondReading reading;
  Message message;
  bool head_done = false, in_value = false;
};

}  // namespace

SecondReading read_requests(std::string_view bytes) {
  Reader reader(HTTP_REQUEST);
  if (!bytes.empty()) reader.read(bytes);
  return reader.reading;
}

SecondReading read_responses(std::string_view bytes, bool eof) {
  Reader reader(HTTP_RESPONSE);
  if (!bytes.empty()) reader.read(bytes);
  if (eof && reader.reading.error.empty()) reader.read({});
  return reader.reading;
}

}  // namespace suture::fuzz
